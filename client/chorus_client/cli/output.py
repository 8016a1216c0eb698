"""What a command prints: a table on a terminal, tab-separated lines elsewhere, or JSON."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from chorus_client.cli.cells import plain, text
from chorus_client.cli.failure import READER_GONE

T = TypeVar("T")
V = TypeVar("V", contravariant=True)


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="A table for people, JSON for scripts.")]


@dataclass(frozen=True)
class Column(Generic[V]):
    title: str
    of: Callable[[V], object]
    right: bool = False  # aligned there, as numbers are


def show_all(values: Iterable[T], columns: Sequence[Column[T]], form: Form, *, nothing: str = "None.") -> None:
    """`nothing` is what a person is told of an empty list."""
    found = tuple(values)
    if form is Form.JSON:
        show_json([plain(value) for value in found])
    elif not on_terminal():
        titles = [column.title for column in columns]
        write("".join("\t".join(row) + "\n" for row in [titles, *rows_of(found, columns)]))
    elif not found:
        write(f"{nothing}\n")
    else:
        table = empty_table(columns)
        for row in rows_of(found, columns):
            table.add_row(*map(Text, row))
        show(table)


def show_one(value: T, rows: Sequence[Column[T]], form: Form) -> None:
    if form is Form.JSON:
        show_json(plain(value))
    elif not on_terminal():
        write("".join(f"{row.title}\t{text(row.of(value))}\n" for row in rows))
    else:
        grid = Table.grid(padding=(0, 2))
        for row in rows:
            grid.add_row(Text(row.title, style="bold"), Text(text(row.of(value))))
        show(grid)


def show_json(data: Any) -> None:
    write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def empty_table(columns: Sequence[Column[T]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    return table


def rows_of(values: Iterable[T], columns: Sequence[Column[T]]) -> list[list[str]]:
    return [[text(column.of(value)) for column in columns] for value in values]


def show(renderable: RenderableType) -> None:
    console().print(renderable)


def console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def on_terminal() -> bool:
    return sys.stdout.isatty()


def write(written: str) -> None:
    """To standard output, at once."""
    try:
        sys.stdout.write(written)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise reader_gone() from error
    except OSError as error:
        drop_output()  # else the interpreter tries it once more at its end
        raise OSError(error.errno, f"The output cannot be written: {error.strerror}") from error


def tell(message: str) -> None:
    """To standard error."""
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        pass


def reader_gone() -> typer.Exit:
    """Nobody reads standard output any more: no word is said."""
    drop_output()
    return typer.Exit(READER_GONE)


def drop_output() -> None:
    """What is still buffered for standard output goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
