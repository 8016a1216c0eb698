"""`chorus top`."""

import time
from contextlib import closing
from typing import Annotated

import typer
from rich.live import Live as Screen

from chorus_client.admin import ChorusAdmin
from chorus_client.cli.board import Board
from chorus_client.cli.cells import plain
from chorus_client.cli.connection import administration
from chorus_client.cli.failure import sentence
from chorus_client.cli.output import Form, Output, console, on_terminal, show, show_json, write
from chorus_client.errors import ChorusError

MOST_NAMED = 500
HINT = "Ctrl-C ends."


def top(
    context: typer.Context,
    interval: Annotated[float, typer.Option("--interval", "-i", min=0.2, help="Seconds between two looks.")] = 1.0,
    tenants: Annotated[int, typer.Option(min=0, max=MOST_NAMED, help="Most tenants that are named.")] = 20,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print it.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """What engines and tenants do at this moment. Ctrl-C ends it. Without a terminal it looks once."""
    with closing(administration(context)) as admin:
        if output is Form.JSON:
            show_json(plain(admin.engines.live(most=tenants)))
        elif once or not on_terminal():
            board = Board()
            board.add(admin.engines.live(most=tenants))
            if on_terminal():
                show(board.screen())
            else:
                write(board.text())
        else:
            _watch(admin, interval, tenants)


def _watch(admin: ChorusAdmin, interval: float, tenants: int) -> None:
    """Until Ctrl-C. What fails is shown and tried again, but for the first look."""
    board = Board()
    board.add(admin.engines.live(most=tenants))
    screen = Screen(board.screen(HINT), console=console(), screen=True, auto_refresh=False)
    try:  # not `with`: an interrupt while it begins must give the terminal back too
        screen.start()
        while True:
            screen.update(board.screen(HINT), refresh=True)
            time.sleep(interval)
            try:
                board.add(admin.engines.live(most=tenants))
            except ChorusError as error:
                board.problem = sentence(error)
    except KeyboardInterrupt:
        return
    finally:
        screen.stop()
