"""Generations that are retired, or deleted and restorable, with the reason; what became of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # What was called retired was deleted.
    op.drop_index("ix_generations_retired_at", "generations")
    op.execute("ALTER TABLE generations RENAME COLUMN retired_at TO deleted_at")
    op.create_index("ix_generations_deleted_at", "generations", ["deleted_at"])
    op.add_column("generations", sa.Column("retired_at", sa.Double, nullable=True))
    op.add_column("generations", sa.Column("reason", sa.String(500), nullable=False, server_default=""))
    op.create_table(
        "transitions",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", sa.Double, nullable=False, index=True),
        sa.Index("ix_transitions_adapter", "tenant", "name", "id"),
    )
