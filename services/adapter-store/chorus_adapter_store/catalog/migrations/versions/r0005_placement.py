"""Pins, the placer's terms, and which adapters were used lately."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DIGEST = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "pins",
        sa.Column("adapter_id", ROW_ID, sa.ForeignKey("adapters.id"), primary_key=True, autoincrement=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("tier", sa.String(4), nullable=False),
        sa.Column("engines", sa.Integer, nullable=False),
    )
    terms = op.create_table(
        "placer_terms",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("term", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(terms, [{"id": 1, "term": 0}])
    op.create_table(
        "adapter_usage",
        sa.Column("base_digest", DIGEST, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("base_digest", "digest", name="pk_adapter_usage"),
    )
