"""`chorus engines`."""

from typing import Annotated

import typer

from chorus_client.cli.cells import size
from chorus_client.cli.connection import administration
from chorus_client.cli.output import Column, Form, Output, show_all
from chorus_client.values import Engine

app = typer.Typer(name="engines", help="Engines: what they hold, and taking them out of use.", no_args_is_help=True)

COLUMNS: tuple[Column[Engine], ...] = (
    Column("engine", lambda engine: engine.id),
    Column("address", lambda engine: engine.address),
    Column("model", lambda engine: engine.model),
    Column("state", lambda engine: f"{engine.state}, ejected" if engine.ejected_by else engine.state),
    Column("slots free", lambda engine: f"{engine.slots_free} of {engine.slots}", right=True),
    Column("in slots", lambda engine: engine.adapters.gpu, right=True),
    Column("in memory", lambda engine: engine.adapters.host, right=True),
    Column("memory free", lambda engine: size(engine.host_bytes_free), right=True),
    Column("started", lambda engine: engine.started_at),
)
EngineId = Annotated[str, typer.Argument(metavar="ENGINE", help="Its id, as `chorus engines list` shows it.")]


@app.command("list")
def list_(context: typer.Context, output: Output = Form.TABLE) -> None:
    """Engines that are alive, and how full they are."""
    with administration(context) as admin:
        show_all(admin.engines.list(), COLUMNS, output, nothing="No engine is alive.")


@app.command()
def drain(context: typer.Context, engine: EngineId) -> None:
    """Send an engine nothing more, so that it can be stopped when what runs there has ended."""
    with administration(context) as admin:
        admin.engines.drain(engine)


@app.command()
def undrain(context: typer.Context, engine: EngineId) -> None:
    """Send it requests again."""
    with administration(context) as admin:
        admin.engines.undrain(engine)
