"""How many adapters a tenant may have, of how many bytes and which rank: without limit before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("adapters", sa.Integer()))
    op.add_column("tenants", sa.Column("adapter_bytes", sa.BigInteger()))
    op.add_column("tenants", sa.Column("adapter_rank", sa.Integer()))


def downgrade() -> None:
    for column in ("adapter_rank", "adapter_bytes", "adapters"):
        op.drop_column("tenants", column)
