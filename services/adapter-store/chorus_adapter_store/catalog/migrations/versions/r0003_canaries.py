"""Aliases that point at two generations, and what aliases pointed at before."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("generation_id", ROW_ID, sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("adapter_id", "alias", name="pk_canaries"),
    )
    op.create_table(
        "alias_changes",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("canary", sa.Integer, nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Index("ix_alias_changes_alias", "adapter_id", "alias", "id"),
    )
    # What aliases point at now is where the first rollback leads.
    op.execute(
        "INSERT INTO alias_changes (adapter_id, alias, generation, canary, percent, changed_at) "
        "SELECT a.adapter_id, a.alias, g.generation, 0, 0, g.created_at "
        "FROM aliases a JOIN generations g ON g.id = a.generation_id"
    )
