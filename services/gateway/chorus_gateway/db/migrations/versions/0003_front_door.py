"""Day limits, budgets, bands and suspension of tenants; what a key may and has used; prices; the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TENANTS = ("deleted_at", "suspended_at", "default_max_tokens", "bands", "budget_period", "budget", "tokens_per_day")
KEYS = (
    *("replaced_by", "last_used_at", "networks", "models", "budget_period", "budget", "concurrent_requests"),
    *("tokens_per_day", "tokens_per_minute", "requests_per_minute"),
)


def upgrade() -> None:
    for column in (*_spending(), *_tenant_columns()):
        op.add_column("tenants", column)
    for column in (*_rates(), *_spending(), *_key_columns()):
        op.add_column("api_keys", column)
    op.create_table(
        "adapter_limits",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        *_rates(),
        *_spending(),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_adapter_limits_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "owner", "name", name=op.f("pk_adapter_limits")),
    )
    op.create_table(
        "prices",
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("adapter", sa.String(200), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("input", "cached", "output")),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", "adapter", name=op.f("pk_prices")),
    )
    _create_audit()


def _rates() -> tuple[sa.Column[int], ...]:
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    return tuple(sa.Column(name, sa.Integer()) for name in names)


def _spending() -> tuple[sa.Column[int] | sa.Column[str], ...]:
    return (
        sa.Column("tokens_per_day", sa.BigInteger()),
        sa.Column("budget", sa.BigInteger()),
        sa.Column("budget_period", sa.String(8), nullable=False, server_default="month"),
    )


def _tenant_columns() -> tuple[sa.Column[float] | sa.Column[str] | sa.Column[int], ...]:
    return (
        sa.Column("bands", sa.String(64), nullable=False, server_default="priority,default,flex"),
        sa.Column("default_max_tokens", sa.Integer()),
        sa.Column("suspended_at", sa.Double()),
        sa.Column("deleted_at", sa.Double()),
    )


def _key_columns() -> tuple[sa.Column[float] | sa.Column[str], ...]:
    return (
        sa.Column("models", sa.Text()),
        sa.Column("networks", sa.Text()),
        sa.Column("last_used_at", sa.Double()),
        sa.Column("replaced_by", sa.String(12)),
    )


def _create_audit() -> None:
    def what() -> tuple[sa.Column[int] | sa.Column[str], ...]:
        return (
            sa.Column("at", sa.BigInteger(), nullable=False),
            sa.Column("actor", sa.String(12), nullable=False),
            sa.Column("client", sa.String(64), nullable=False),
            sa.Column("action", sa.String(64), nullable=False),
            sa.Column("object", sa.String(512), nullable=False),
            sa.Column("details", sa.Text(), nullable=False),
        )

    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        *what(),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "audit_intents",
        sa.Column("id", sa.String(32), nullable=False),
        *what(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_intents")),
    )
    for statement in _guards():
        op.execute(statement)


def _guards() -> tuple[str, ...]:
    """The database itself refuses to change or remove rows of the audit log."""
    if op.get_bind().dialect.name == "postgresql":
        return (
            "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
        )
    return tuple(
        f"CREATE TRIGGER audit_no_{event.lower()} BEFORE {event} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for event in ("UPDATE", "DELETE")
    )


def downgrade() -> None:
    for table in ("audit_intents", "audit", "prices", "adapter_limits"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only()")
    for column in KEYS:
        op.drop_column("api_keys", column)
    for column in TENANTS:
        op.drop_column("tenants", column)
