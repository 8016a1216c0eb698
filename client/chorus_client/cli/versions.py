"""The part of `chorus adapters` that is about names: which generation they mean, who may use it, where it is."""

from typing import Annotated

import typer

from chorus_client.admin import ChorusAdmin
from chorus_client.cli import parsing
from chorus_client.cli.connection import adapter_management, administration
from chorus_client.cli.failure import Failure, Misuse
from chorus_client.cli.options import AdapterName, OfTenant, VersionedName
from chorus_client.cli.output import Column, Form, Output, show_all, show_one
from chorus_client.cli.parsing import Ref
from chorus_client.values import Adapter, AliasChange, Canary, Pin, Resident, Tier, Transition, Visibility

CHANGES: tuple[Column[AliasChange], ...] = (
    Column("changed", lambda change: change.changed_at),
    Column("generation", lambda change: change.generation, right=True),
    Column("canary", lambda change: change.canary and f"{change.canary.generation} ({change.canary.percent}%)"),
)
TRANSITIONS: tuple[Column[Transition], ...] = (
    Column("at", lambda passed: passed.at),
    Column("generation", lambda passed: passed.generation, right=True),
    Column("state", lambda passed: passed.state),
    Column("reason", lambda passed: passed.reason),
)
PINS: tuple[Column[Pin], ...] = (
    Column("adapter", lambda pin: f"{pin.tenant}/{pin.name}"),
    Column("version", lambda pin: pin.version),
    Column("tier", lambda pin: pin.tier),
    Column("engines", lambda pin: pin.engines or "all", right=True),
    Column("held by", lambda pin: pin.held, right=True),
)
RESIDENTS: tuple[Column[Resident], ...] = (
    Column("engine", lambda resident: resident.engine),
    Column("tier", lambda resident: resident.tier),
    Column("state", lambda resident: resident.state),
    Column("leases", lambda resident: resident.leases, right=True),
    Column("pinned", lambda resident: resident.pinned),
    Column("last use", lambda resident: resident.last_use),
)
VISIBLE: tuple[Column[Adapter], ...] = (
    Column("adapter", lambda adapter: f"{adapter.tenant}/{adapter.name}"),
    Column("visibility", lambda adapter: adapter.visibility),
    Column("shared with", lambda adapter: adapter.shared_with),
)


def add_to(app: typer.Typer) -> None:
    for command in (alias, history, share, pin, unpin, pins, where):
        app.command()(command)


def alias(
    context: typer.Context,
    adapter: AdapterName,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as prod.")],
    generation: Annotated[
        int | None, typer.Argument(metavar="[GENERATION]", min=1, help="That it shall point at.")
    ] = None,
    tenant: OfTenant = None,
    canary: Annotated[int | None, typer.Option(min=1, help="A second generation, for --percent of requests.")] = None,
    percent: Annotated[int, typer.Option(min=1, max=99, help="The canary's share.")] = 10,
    rollback: Annotated[bool, typer.Option("--rollback", help="Point it at what it pointed at before.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Point an alias at a generation; without one, show what it has pointed at."""
    ref = parsing.reference(adapter, tenant)
    if (generation is not None) + rollback + remove > 1:
        raise Misuse("A generation, --rollback and --remove exclude each other: give one of them.")
    if canary is not None and generation is None:
        raise Misuse("--canary needs the generation that has the other requests.")
    with adapter_management(context) as admin:
        if remove:
            admin.aliases.remove(ref.tenant, ref.name, alias)
            return
        if rollback:
            admin.aliases.rollback(ref.tenant, ref.name, alias)
        elif generation is not None:
            second = Canary(canary, percent) if canary is not None else None
            admin.aliases.set(ref.tenant, ref.name, alias, generation, canary=second)
        changes = admin.aliases.changes(ref.tenant, ref.name, alias)
    show_all(changes, CHANGES, output, nothing=f"{ref} never had an alias {alias!r}.")


def history(context: typer.Context, adapter: AdapterName, tenant: OfTenant = None, output: Output = Form.TABLE) -> None:
    """What became of a name's uploads and generations, refused uploads too; newest first."""
    ref = parsing.reference(adapter, tenant)
    with adapter_management(context) as admin:
        passed = admin.adapters.history(ref.tenant, ref.name)
    show_all(passed, TRANSITIONS, output, nothing=f"Nothing is known of {ref}.")


def share(
    context: typer.Context,
    adapter: AdapterName,
    tenant: OfTenant = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="A tenant that may use it; may be repeated.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everyone may use it.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Its owner alone may use it.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Say who else may use an adapter, instead of whoever could before."""
    ref = parsing.reference(adapter, tenant)
    if bool(with_) + public + private != 1:
        raise Misuse("Give one of --with, --public and --private.")
    visibility = Visibility.PUBLIC if public else Visibility.PRIVATE if private else Visibility.SHARED
    with adapter_management(context) as admin:
        changed = admin.adapters.set_visibility(ref.tenant, ref.name, visibility, parsing.listed(with_ or ()))
    show_one(changed, VISIBLE, output)


def pin(
    context: typer.Context,
    adapter: VersionedName,
    tenant: OfTenant = None,
    tier: Annotated[Tier, typer.Option(help="gpu: a slot; host: host memory.")] = Tier.GPU,
    engines: Annotated[int, typer.Option(min=0, help="On how many engines of its base; 0 is all.")] = 0,
    output: Output = Form.TABLE,
) -> None:
    """Keep an adapter on engines whatever its demand; a pin on an alias moves with it."""
    ref = parsing.reference(adapter, tenant)
    with administration(context) as admin:
        made = admin.pins.set(ref.tenant, ref.name, version=ref.version or "latest", tier=tier, engines=engines)
    show_one(made, PINS, output)


def unpin(context: typer.Context, adapter: AdapterName, tenant: OfTenant = None) -> None:
    """Remove an adapter's pin."""
    ref = parsing.reference(adapter, tenant)
    with administration(context) as admin:
        admin.pins.remove(ref.tenant, ref.name)


def pins(context: typer.Context, tenant: OfTenant = None, output: Output = Form.TABLE) -> None:
    """A tenant's pins, or everyone's."""
    with administration(context) as admin:
        show_all(admin.pins.list(tenant or ""), PINS, output, nothing="Nothing is pinned.")


def where(context: typer.Context, adapter: VersionedName, tenant: OfTenant = None, output: Output = Form.TABLE) -> None:
    """The engines that hold an adapter."""
    ref = parsing.reference(adapter, tenant)
    with administration(context) as admin:
        generation = generation_of(admin, ref) if ref.version else None
        residents = admin.adapters.residency(ref.tenant, ref.name, generation).residents
    show_all(residents, RESIDENTS, output, nothing=f"No engine holds {ref}.")


def generation_of(admin: ChorusAdmin, ref: Ref) -> int:
    return int(ref.version) if ref.version.isdecimal() else found(admin, ref).generation


def found(admin: ChorusAdmin, ref: Ref) -> Adapter:
    """The generation that its version names, `latest` without one."""
    if ref.version.isdecimal():
        return admin.adapters.get(ref.tenant, ref.name, int(ref.version))
    named = [adapter for adapter in admin.adapters.list(ref.tenant) if adapter.name == ref.name]
    if not named:
        raise Failure(f"There is no adapter {ref.tenant}/{ref.name}.")
    version = ref.version or "latest"
    for adapter in named:
        if version in adapter.aliases:
            return adapter
    if not ref.version:  # none is published
        return named[0]
    aliases = sorted({alias for adapter in named for alias in adapter.aliases})
    raise Failure(f"{ref.tenant}/{ref.name} has no alias {version!r}, only {', '.join(aliases) or 'none'}.")
