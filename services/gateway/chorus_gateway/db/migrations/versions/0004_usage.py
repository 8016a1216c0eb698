"""The usage ledger: a row for each request, and sums by day."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REQUESTS, DAYS = "usage_requests", "usage_days"


def upgrade() -> None:
    op.create_table(
        REQUESTS,
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *_keys(),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("band", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        *_counts("prompt", "cached", "completion", "computed", "cost", "price_input", "price_cached", "price_output"),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_usage_requests")),
    )
    op.create_index("ix_usage_requests_at", REQUESTS, ["at"])
    op.create_index("ix_usage_requests_tenant_at", REQUESTS, ["tenant", "at"])
    op.create_table(
        DAYS,
        *_keys(),
        *_counts("requests", "prompt", "cached", "completion", "computed", "cost"),
        sa.PrimaryKeyConstraint("day", "tenant", "key", "base", "adapter", name=op.f("pk_usage_days")),
    )
    op.create_index("ix_usage_days_tenant_day", DAYS, ["tenant", "day"])


def _keys() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(12), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("adapter", sa.String(), nullable=False),
    )


def _counts(*names: str) -> tuple[sa.Column[int], ...]:
    return tuple(sa.Column(name, sa.BigInteger(), nullable=False) for name in names)


def downgrade() -> None:
    op.drop_table(DAYS)
    op.drop_table(REQUESTS)
