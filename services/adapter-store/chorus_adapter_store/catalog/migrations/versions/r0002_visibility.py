"""Who but its owner may use an adapter: what was there stays private."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("adapters", sa.Column("visibility", sa.String(8), nullable=False, server_default="private"))
    op.create_table(
        "shares",
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("tenant", NAME, nullable=False, index=True),
        sa.PrimaryKeyConstraint("adapter_id", "tenant", name="pk_shares"),
    )
