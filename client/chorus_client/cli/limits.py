"""`chorus limits`: of tenants, of their use of single adapters, and of keys."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import typer

from chorus_client.accounts import UseLimits
from chorus_client.admin import ChorusAdmin
from chorus_client.cli import parsing
from chorus_client.cli.connection import administration
from chorus_client.cli.failure import Failure, Misuse
from chorus_client.cli.options import LimitArguments
from chorus_client.cli.output import Column, Form, Output, show_all

app = typer.Typer(
    name="limits", help="Limits of tenants, of their use of single adapters, and of keys.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class Line:
    """One limit of one of them."""

    of: str  # the tenant, "owner/name", or a key's id
    name: str
    limit: str


COLUMNS: tuple[Column[Line], ...] = (
    Column("of", lambda line: line.of),
    Column("limit", lambda line: line.name),
    Column("value", lambda line: line.limit, right=True),
)
TenantId = Annotated[str, typer.Argument(metavar="TENANT")]
Adapter = Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Of the tenant's use of this adapter alone.")]
KeyId = Annotated[str | None, typer.Option("--key", metavar="ID", help="Of this key alone.")]


def lines(of: str, limits: UseLimits) -> list[Line]:
    """Of those that limit anything, as the command line takes them."""
    found = []
    for each in fields(limits):
        value = getattr(limits, each.name)
        if value is not None and each.name != "budget_period":
            shown = f"{value:f}/{limits.budget_period}" if each.name == "budget" else str(value)
            found.append(Line(of, each.name.replace("_", "-"), shown))
    return found


def summary(limits: UseLimits) -> tuple[str, ...]:
    return tuple(f"{line.name}={line.limit}" for line in lines("", limits))


@app.command()
def show(context: typer.Context, tenant: TenantId, output: Output = Form.TABLE) -> None:
    """A tenant's limits, those of its keys, and those of its use of adapters."""
    with administration(context) as admin:
        found = lines(tenant, admin.tenants.get(tenant).limits)
        for use in admin.tenants.adapter_limits(tenant):
            found += lines(use.adapter, use.limits)
        for key in admin.keys.list(tenant):
            found += lines(key.id, key.limits) if key.revoked_at is None else []
    show_all(found, COLUMNS, output, nothing=f"Nothing limits {tenant}.")


@app.command("set")
def set_(
    context: typer.Context,
    tenant: TenantId,
    changes: LimitArguments,
    adapter: Adapter = None,
    key: KeyId = None,
    output: Output = Form.TABLE,
) -> None:
    """Change the limits that are given, such as `requests-per-minute=60 budget=12.50/month tokens-per-day=none`."""
    if adapter and key:
        raise Misuse("--adapter and --key are two different things to limit: give one of them.")
    wanted = parsing.limits(changes)
    with administration(context) as admin:
        if adapter:
            found = lines(adapter, _limit_use(admin, tenant, adapter, wanted))
        elif key:
            if admin.keys.get(key).tenant != tenant:
                raise Failure(f"The key {key!r} is not the tenant {tenant!r}'s.")
            found = lines(key, admin.keys.change(key, limits=wanted).limits)  # type: ignore[arg-type]  # names checked
        else:
            found = lines(tenant, admin.tenants.change(tenant, limits=wanted).limits)  # type: ignore[arg-type]
    show_all(found, COLUMNS, output, nothing=f"Nothing limits {adapter or key or tenant} any more.")


@app.command()
def remove(
    context: typer.Context,
    tenant: TenantId,
    adapter: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Whose use is limited no more.")],
) -> None:
    """Lift all limits of a tenant's use of one adapter."""
    owner, name = parsing.pair(adapter)
    with administration(context) as admin:
        admin.tenants.unlimit_adapter(tenant, owner, name)


def _limit_use(admin: ChorusAdmin, tenant: str, adapter: str, changes: dict[str, Any]) -> UseLimits:
    """The API replaces them all; here what is not given stays."""
    owner, name = parsing.pair(adapter)
    known = {each.name for each in fields(UseLimits)}
    if strange := [each for each in changes if each not in known]:
        raise Misuse(f"{strange[0].replace('_', '-')} is a limit of tenants, not of an adapter's use.")
    had = [use.limits for use in admin.tenants.adapter_limits(tenant) if use.adapter == adapter]
    before = asdict(had[0]) if had else {}
    return admin.tenants.limit_adapter(tenant, owner, name, UseLimits(**{**before, **changes})).limits
