"""How far an upload or a download is, on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from chorus_client.cli.output import console
from chorus_client.files import Progress


@contextmanager
def transfer(title: str, *, finally_doing: str = "") -> Iterator[Progress | None]:
    """A bar on standard error, with bytes and rate. None where standard error is no terminal. `finally_doing` is what
    the other side does once it has all bytes."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, total: int) -> None:
            doing = f"{title}: {finally_doing}" if done == total and finally_doing else title
            bar.update(task, completed=done, total=total, description=doing)

        yield tell
