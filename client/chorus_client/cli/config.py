"""`chorus config`: what is kept between commands, so that keys need not be in every shell's environment."""

import sys
from dataclasses import dataclass
from getpass import getpass
from typing import Annotated

import typer

from chorus_client.cli.failure import Misuse
from chorus_client.cli.output import Column, Form, Output, show_all, write
from chorus_client.cli.settings import VARIABLES, Setting, Settings, file_path, read_file, write_file

app = typer.Typer(name="config", help="The gateway's address and keys, as they are kept.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Kept:
    name: str
    value: str
    source: str


COLUMNS: tuple[Column[Kept], ...] = (
    Column("name", lambda kept: kept.name),
    Column("value", lambda kept: kept.value),
    Column("from", lambda kept: kept.source),
)
SHOWN_SIGNS = 20  # of a key: its id, and none of its secret
Name = Annotated[
    str, typer.Argument(metavar="NAME", help=f"One of {', '.join(VARIABLES)}.", autocompletion=lambda: list(VARIABLES))
]


@app.command()
def show(context: typer.Context, output: Output = Form.TABLE) -> None:
    """What commands use, and where each is from. Keys are shown without their secret."""
    settings = Settings.find(context.find_root().obj)
    found = {
        "base-url": settings.base_url,
        "api-key": _masked(settings.api_key),
        "admin-key": _masked(settings.admin_key),
    }
    show_all([Kept(name, each.value, each.source) for name, each in found.items() if each], COLUMNS, output)


@app.command("set")
def set_(
    name: Name,
    value: Annotated[
        str | None, typer.Argument(help="Asked for without it, so that no key is left in a shell's history.")
    ] = None,
) -> None:
    """Keep an address or a key, readable by you alone."""
    _check(name)
    given = value if value is not None else _asked(name)
    if not given:
        raise Misuse(f"The {name} is empty: nothing is kept.")
    values = {**read_file(), name: given}
    Settings.find(values.get("base-url"), {VARIABLES[each]: kept for each, kept in values.items()})
    write_file(values)


@app.command()
def unset(name: Name) -> None:
    """Keep it no more."""
    _check(name)
    write_file({each: value for each, value in read_file().items() if each != name})


@app.command()
def path() -> None:
    """Where it is kept."""
    write(f"{file_path()}\n")


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return (input if name == "base-url" else getpass)(f"{name}: ").strip()


def _check(name: str) -> None:
    if name not in VARIABLES:
        raise Misuse(f"There is no {name!r} to keep: only {', '.join(VARIABLES)}.")


def _masked(setting: Setting | None) -> Setting | None:
    return setting and Setting(f"{setting.value[:SHOWN_SIGNS]}…", setting.source)
