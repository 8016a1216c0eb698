"""`chorus adapters`: how they come and go. What else there is to their names stands in `versions`."""

from pathlib import Path
from typing import Annotated

import typer

from chorus_client.admin import ChorusAdmin
from chorus_client.cli import parsing, versions
from chorus_client.cli.cells import plain, size
from chorus_client.cli.connection import adapter_management
from chorus_client.cli.failure import Failure, Misuse
from chorus_client.cli.options import AdapterName, OfTenant, Reason, VersionedName
from chorus_client.cli.output import Column, Form, Output, show_all, show_json, show_one, tell, write
from chorus_client.cli.pace import transfer
from chorus_client.cli.versions import found, generation_of
from chorus_client.values import Adapter, Upload

app = typer.Typer(name="adapters", help="Adapters: upload, versions, pins, and their end.", no_args_is_help=True)
versions.add_to(app)

COLUMNS: tuple[Column[Adapter], ...] = (
    Column("adapter", lambda adapter: f"{adapter.tenant}/{adapter.name}"),
    Column("generation", lambda adapter: adapter.generation, right=True),
    Column("model", lambda adapter: adapter.model),
    Column("rank", lambda adapter: adapter.rank, right=True),
    Column("size", lambda adapter: size(adapter.bytes), right=True),
    Column("aliases", lambda adapter: (*adapter.aliases, *(f"{a} ({p}%)" for a, p in adapter.canary_of.items()))),
    Column("state", lambda adapter: adapter.state),
    Column("created", lambda adapter: adapter.created_at),
)
ROWS: tuple[Column[Adapter], ...] = (
    *COLUMNS[:4],
    Column("modules", lambda adapter: adapter.modules),
    *COLUMNS[4:7],
    Column("reason", lambda adapter: adapter.reason),
    Column("visibility", lambda adapter: ", ".join((adapter.visibility, *adapter.shared_with))),
    COLUMNS[7],
    Column("digest", lambda adapter: adapter.digest),
)


@app.command()
def push(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As PEFT's save_pretrained wrote it.")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", envvar="CHORUS_TENANT", help="Whose adapter it will be.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="The folder's without it.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Its base model; the one that engines serve without it.")
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Upload an adapter: a new generation of its name, which `latest` then points at."""
    if not folder.is_dir():
        raise Misuse(f"{folder} is no folder: give the one with adapter_config.json and adapter_model.safetensors.")
    name = name or folder.resolve().name
    with adapter_management(context) as admin:
        model = model or _only_model(admin)
        with transfer(f"{tenant}/{name}", finally_doing="validating") as progress:
            upload = admin.adapters.upload(tenant, name, model, folder, progress=progress)
    _show_upload(upload, output)


@app.command("import")
def import_(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="s3://bucket/prefix, of a bucket that the store may read.")
    ],
    tenant: Annotated[str, typer.Option("--tenant", "-t", envvar="CHORUS_TENANT", help="Whose adapter it will be.")],
    name: Annotated[str, typer.Option("--name", "-n", help="What it will be called.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Its base model.")] = None,
    output: Output = Form.TABLE,
) -> None:
    """Upload an adapter from a bucket."""
    with adapter_management(context) as admin:
        upload = admin.adapters.import_from(source, tenant=tenant, name=name, model=model or _only_model(admin))
    _show_upload(upload, output)


@app.command()
def pull(
    context: typer.Context,
    adapter: VersionedName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.")],
    tenant: OfTenant = None,
    output: Output = Form.TABLE,
) -> None:
    """Download an adapter, byte for byte what was uploaded."""
    ref = parsing.reference(adapter, tenant)
    with adapter_management(context) as admin:
        generation = generation_of(admin, ref)
        with transfer(str(ref)) as progress:
            files = admin.adapters.download(ref.tenant, ref.name, generation, folder, progress=progress)
    paths = {"generation": generation, "config": str(files.config), "weights": str(files.weights)}
    if output is Form.JSON:
        show_json(paths)
    else:
        write("".join(f"{path}\n" for path in (files.config, files.weights)))


@app.command("list")
def list_(
    context: typer.Context,
    tenant: OfTenant = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those too that can be restored.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """A tenant's adapters, or everyone's: newest generation first under each name."""
    with adapter_management(context) as admin:
        listed = tuple(admin.adapters.list(tenant or "", deleted=deleted))
    show_all(listed, COLUMNS, output, nothing="There are no adapters.")


@app.command()
def show(context: typer.Context, adapter: VersionedName, tenant: OfTenant = None, output: Output = Form.TABLE) -> None:
    """One generation: the latest, or the one that a version names."""
    ref = parsing.reference(adapter, tenant)
    with adapter_management(context) as admin:
        show_one(found(admin, ref), ROWS, output)


@app.command()
def delete(
    context: typer.Context,
    adapter: VersionedName,
    tenant: OfTenant = None,
    reason: Reason = "",
    output: Output = Form.TABLE,
) -> None:
    """Delete an adapter, or the one generation that a version names. It can be restored for a while."""
    ref = parsing.reference(adapter, tenant)
    with adapter_management(context) as admin:
        generation = generation_of(admin, ref) if ref.version else None
        deleted = admin.adapters.delete(ref.tenant, ref.name, generation, reason=reason)
    _show_count("deleted", deleted, output)


@app.command()
def restore(
    context: typer.Context,
    adapter: AdapterName,
    tenant: OfTenant = None,
    generation: Annotated[
        int | None, typer.Option(min=1, help="Deleted or retired; all deleted ones without it.")
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Bring back what was deleted or retired."""
    ref = parsing.reference(adapter, tenant)
    with adapter_management(context) as admin:
        restored = admin.adapters.restore(ref.tenant, ref.name, generation)
    _show_count("restored", restored, output)


@app.command()
def retire(
    context: typer.Context,
    adapter: VersionedName,
    tenant: OfTenant = None,
    reason: Reason = "",
    output: Output = Form.TABLE,
) -> None:
    """Take one generation out of use: no new request may use it, running ones finish."""
    ref = parsing.reference(adapter, tenant)
    if not ref.version:
        raise Misuse(f"Which generation of {ref}? Write {ref}:3, or the alias that points at it.")
    with adapter_management(context) as admin:
        show_one(admin.adapters.retire(ref.tenant, ref.name, generation_of(admin, ref), reason=reason), ROWS, output)


def _show_upload(upload: Upload, form: Form) -> None:
    if form is Form.JSON:
        show_json({**plain(upload.adapter), "created": upload.created})
        return
    if not upload.created:
        tell("These bytes were the latest generation already: nothing has changed.")
    show_one(upload.adapter, ROWS, form)


def _show_count(done: str, count: int, form: Form) -> None:
    if form is Form.JSON:
        show_json({done: count})
    else:
        write(f"{count} generation{'' if count == 1 else 's'} {done}.\n")


def _only_model(admin: ChorusAdmin) -> str:
    models = sorted({engine.model for engine in admin.engines.list()})
    if len(models) != 1:
        served = ", ".join(models) or "none"
        raise Failure(f"Which base model is it for? Engines serve {served}: name one with --model.")
    return models[0]
