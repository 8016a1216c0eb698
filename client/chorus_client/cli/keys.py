"""`chorus keys`."""

from typing import Annotated

import typer

from chorus_client.accounts import Key, Limits, NewKey, UseLimits
from chorus_client.cli import parsing
from chorus_client.cli.connection import administration
from chorus_client.cli.failure import Misuse
from chorus_client.cli.limits import summary
from chorus_client.cli.options import LimitOptions
from chorus_client.cli.output import Column, Form, Output, on_terminal, show_all, show_one, tell

app = typer.Typer(name="keys", help="API keys: a key itself is shown once, when it is made.", no_args_is_help=True)

COLUMNS: tuple[Column[Key], ...] = (
    Column("id", lambda key: key.id),
    Column("name", lambda key: key.name),
    Column("scopes", lambda key: key.scopes),
    Column("state", lambda key: _state(key)),
    Column("last used", lambda key: key.last_used_at),
    Column("created", lambda key: key.created_at),
    Column("models", lambda key: key.models or "all"),
)
ROWS: tuple[Column[Key], ...] = (
    Column("id", lambda key: key.id),
    Column("tenant", lambda key: key.tenant or "(administrator)"),
    *COLUMNS[1:],
    Column("networks", lambda key: key.networks or "all"),
    Column("limits", lambda key: summary(key.limits)),
)
NEW: tuple[Column[NewKey], ...] = (*ROWS, Column("key", lambda key: key.key))

Tenant = Annotated[str | None, typer.Option("--tenant", "-t", envvar="CHORUS_TENANT", help="Whose keys.")]
Admin = Annotated[bool, typer.Option("--admin", help="An administrator's key instead of a tenant's.")]
KeyId = Annotated[str, typer.Argument(metavar="ID")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="That it may use: base, base@adapter, base@owner/adapter or base@*; may be repeated."),
]
Networks = Annotated[
    list[str] | None, typer.Option("--network", help="From which it may be used: 10.0.0.0/8; may be repeated.")
]


@app.command()
def create(
    context: typer.Context,
    tenant: Tenant = None,
    admin: Admin = False,
    scope: Annotated[
        list[str] | None, typer.Option(help="infer or adapters; may be repeated. infer without it.")
    ] = None,
    name: Annotated[str, typer.Option(help="For people to tell keys apart.")] = "",
    expires_in: Annotated[str | None, typer.Option(help="Such as 12h or 30d; never without it.")] = None,
    model: Models = None,
    network: Networks = None,
    limit: LimitOptions = None,
    output: Output = Form.TABLE,
) -> None:
    """Create a key, and show it this once."""
    lifetime = parsing.duration(expires_in) if expires_in else None
    if admin:
        if scope or model or limit:
            raise Misuse("An administrator's key is for everything: it takes no scopes, models or limits.")
        with administration(context) as client:
            made = client.keys.create_admin(
                expires_in=lifetime, name=name, networks=parsing.listed(network) if network else None
            )
        _show_new(made, output)
        return
    with administration(context) as client:
        made = client.keys.create(
            _of(tenant),
            scopes=parsing.listed(scope or ["infer"]),
            expires_in=lifetime,
            name=name,
            limits=_limits(limit),
            models=parsing.listed(model) if model else None,
            networks=parsing.listed(network) if network else None,
        )
    _show_new(made, output)


@app.command("list")
def list_(context: typer.Context, tenant: Tenant = None, admin: Admin = False, output: Output = Form.TABLE) -> None:
    """A tenant's keys, or with --admin the administrators', revoked ones too."""
    with administration(context) as client:
        found = client.keys.list_admin() if admin else client.keys.list(_of(tenant))
    show_all(found, COLUMNS, output, nothing="There are no keys.")


@app.command()
def show(context: typer.Context, key: KeyId, output: Output = Form.TABLE) -> None:
    """One key, without the key itself."""
    with administration(context) as client:
        show_one(client.keys.get(key), ROWS, output)


@app.command("set")
def set_(
    context: typer.Context,
    key: KeyId,
    name: Annotated[str | None, typer.Option(help="For people to tell keys apart.")] = None,
    model: Models = None,
    network: Networks = None,
    limit: LimitOptions = None,
    output: Output = Form.TABLE,
) -> None:
    """Change what is given. `--model all` and `--network all` allow everything again."""
    changes = parsing.limits(limit or ())
    if name is None and not model and not network and not changes:
        raise Misuse("Nothing to change: give --name, --model, --network or --limit.")
    with administration(context) as client:
        changed = client.keys.change(
            key,
            name=name,
            models=_all_or(model),
            networks=_all_or(network),
            limits=changes,  # type: ignore[arg-type]  # its names were checked
        )
    show_one(changed, ROWS, output)


@app.command()
def rotate(
    context: typer.Context,
    key: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key stays good: 0, 30m, 24h.")] = "24h",
    output: Output = Form.TABLE,
) -> None:
    """Replace a key by a new one that may the same."""
    lasting = parsing.duration(overlap)
    with administration(context) as client:
        _show_new(client.keys.rotate(key, overlap=lasting), output)


@app.command()
def revoke(context: typer.Context, key: KeyId, output: Output = Form.TABLE) -> None:
    """End a key: it is refused everywhere within a second, for ever."""
    with administration(context) as client:
        show_one(client.keys.revoke(key), ROWS, output)


def _show_new(key: NewKey, form: Form) -> None:
    show_one(key, NEW, form)
    if form is Form.TABLE and on_terminal():
        tell("Keep the key now: it cannot be shown again.")


def _of(tenant: str | None) -> str:
    if not tenant:
        raise Misuse("Whose keys? Give --tenant, or --admin for administrators.")
    return tenant


def _limits(written: list[str] | None) -> UseLimits:
    limits = Limits(**parsing.limits(written or ()))
    if limits.adapters or limits.adapter_bytes or limits.adapter_rank:
        raise Misuse("adapters, adapter-bytes and adapter-rank are limits of tenants, not of keys.")
    return UseLimits(*(getattr(limits, each) for each in UseLimits.__slots__))


def _all_or(written: list[str] | None) -> list[str] | None:
    return [] if written == ["all"] else parsing.listed(written) if written else None


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "good"
    return f"until {key.expires_at:%Y-%m-%d %H:%M}Z"
