"""All commands, and how each ends."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.main import get_command

from chorus_client.cli import adapters, audit, chat, config, engines, keys, limits, prices, tenants, top, usage
from chorus_client.cli.failure import FAILED, INTERRUPTED, Failure, sentence
from chorus_client.cli.output import reader_gone, tell, write
from chorus_client.errors import ChorusError

HELP = """Chorus from the command line: tenants, keys, adapters, usage, and a look at what goes on.

The gateway's address and keys come from CHORUS_BASE_URL, CHORUS_ADMIN_KEY and CHORUS_API_KEY, or from what
`chorus config set` keeps. Exit status: 0 done, 1 refused or failed, 2 wrong usage or settings, 130 Ctrl-C.
"""


def create_app() -> typer.Typer:
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_root)
    for group in (adapters, tenants, keys, limits, prices, engines, audit, config):
        app.add_typer(group.app)
    app.command("usage")(usage.usage)
    app.command("top")(top.top)
    app.command("chat")(chat.chat)
    return app


def run(arguments: Sequence[str]) -> int:
    """The exit status. Whatever goes wrong is one sentence on standard error."""
    try:
        ended = get_command(create_app()).main(list(arguments), prog_name="chorus", standalone_mode=False)
        write("")  # what is buffered fails here, not at the interpreter's end
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        ended = INTERRUPTED
    except typer.Abort:
        tell("chorus: Nothing was done.")
        return FAILED
    except BrokenPipeError:
        return reader_gone().exit_code
    except typer.TyperException as error:
        tell(_usage(error))
        return error.exit_code
    except (Failure, ChorusError, OSError) as error:
        tell(f"chorus: {sentence(error)}")
        return error.status if isinstance(error, Failure) else FAILED
    if ended == INTERRUPTED:
        tell("chorus: Stopped.")
    return ended if isinstance(ended, int) else 0


def _usage(error: typer.TyperException) -> str:
    """One sentence, or a group's help where no command of it was named."""
    context = getattr(error, "ctx", None)
    if context is not None and error.message == context.get_help():
        return error.message
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    ending = "" if message.endswith((".", "?")) else "."
    return f"chorus: {message}{ending}" + (f" See `{context.command_path} --help`." if context is not None else "")


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"chorus {version('chorus-client')}\n")
        raise typer.Exit


def _root(
    context: typer.Context,
    base_url: Annotated[
        str | None, typer.Option(help="The gateway's address; else CHORUS_BASE_URL, else http://127.0.0.1:8000.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = base_url
