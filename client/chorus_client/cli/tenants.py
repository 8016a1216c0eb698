"""`chorus tenants`."""

from typing import Annotated

import typer

from chorus_client.accounts import Limits, Tenant
from chorus_client.cli import parsing
from chorus_client.cli.connection import administration
from chorus_client.cli.failure import Misuse
from chorus_client.cli.limits import summary
from chorus_client.cli.options import LimitOptions
from chorus_client.cli.output import Column, Form, Output, show_all, show_one

app = typer.Typer(
    name="tenants", help="Tenants: their share, their limits, what they may ask for.", no_args_is_help=True
)

COLUMNS: tuple[Column[Tenant], ...] = (
    Column("tenant", lambda tenant: tenant.id),
    Column("weight", lambda tenant: f"{tenant.weight:g}", right=True),
    Column("tiers", lambda tenant: tenant.tiers),
    Column("limits", lambda tenant: summary(tenant.limits)),
    Column("suspended", lambda tenant: tenant.suspended),
    Column("created", lambda tenant: tenant.created_at),
)
ROWS = (*COLUMNS, Column[Tenant]("default max_tokens", lambda tenant: tenant.default_max_tokens))

TenantId = Annotated[str, typer.Argument(metavar="TENANT")]
Weight = Annotated[float | None, typer.Option(help="Share of capacity among tenants that wait.")]
Tiers = Annotated[
    list[str] | None, typer.Option("--tier", help="priority, default or flex; may be repeated. Without it, all.")
]
MaxTokens = Annotated[
    int | None, typer.Option(min=0, help="Of requests that name no max_tokens; 0 goes back to the gateway's.")
]


@app.command()
def create(
    context: typer.Context,
    tenant: TenantId,
    weight: Weight = None,
    tier: Tiers = None,
    default_max_tokens: MaxTokens = None,
    limit: LimitOptions = None,
    output: Output = Form.TABLE,
) -> None:
    """Create a tenant."""
    limits = Limits(**parsing.limits(limit or ()))
    with administration(context) as admin:
        made = admin.tenants.create(
            tenant,
            weight=1.0 if weight is None else weight,
            limits=limits,
            tiers=parsing.listed(tier) if tier else None,
            default_max_tokens=default_max_tokens or None,
        )
    show_one(made, ROWS, output)


@app.command("list")
def list_(context: typer.Context, output: Output = Form.TABLE) -> None:
    """All tenants."""
    with administration(context) as admin:
        show_all(admin.tenants.list(), COLUMNS, output, nothing="There are no tenants.")


@app.command()
def show(context: typer.Context, tenant: TenantId, output: Output = Form.TABLE) -> None:
    """One tenant."""
    with administration(context) as admin:
        show_one(admin.tenants.get(tenant), ROWS, output)


@app.command("set")
def set_(
    context: typer.Context,
    tenant: TenantId,
    weight: Weight = None,
    tier: Tiers = None,
    default_max_tokens: MaxTokens = None,
    limit: LimitOptions = None,
    output: Output = Form.TABLE,
) -> None:
    """Change what is given; `--limit name=none` lifts a limit. Every gateway follows within a second."""
    changes = parsing.limits(limit or ())
    if weight is None and not tier and default_max_tokens is None and not changes:
        raise Misuse("Nothing to change: give --weight, --tier, --default-max-tokens or --limit.")
    with administration(context) as admin:
        changed = admin.tenants.change(
            tenant,
            weight=weight,
            tiers=parsing.listed(tier) if tier else None,
            default_max_tokens=default_max_tokens,
            limits=changes,  # type: ignore[arg-type]  # its names were checked
        )
    show_one(changed, ROWS, output)


@app.command()
def delete(context: typer.Context, tenant: TenantId) -> None:
    """Delete a tenant for ever. It must have no adapters and no key that is good."""
    with administration(context) as admin:
        admin.tenants.delete(tenant)


@app.command()
def suspend(context: typer.Context, tenant: TenantId, output: Output = Form.TABLE) -> None:
    """Refuse the tenant's requests until `chorus tenants resume`."""
    with administration(context) as admin:
        show_one(admin.tenants.change(tenant, suspended=True), ROWS, output)


@app.command()
def resume(context: typer.Context, tenant: TenantId, output: Output = Form.TABLE) -> None:
    """Answer a suspended tenant again."""
    with administration(context) as admin:
        show_one(admin.tenants.change(tenant, suspended=False), ROWS, output)
