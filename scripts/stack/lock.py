"""One stack a folder: whoever runs it holds the lock, in a file that says who."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.stack.errors import StackError


def lock_path(state: Path) -> Path:
    return state / "up.pid"


@contextmanager
def hold_lock(state: Path) -> Iterator[None]:
    """Raises StackError when another process holds it."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_path(state).open("a+") as file:
        if not _locked(file.fileno()):
            raise StackError(
                f"Chorus runs from this folder already (process {holder(state)}); "
                "stop it with Ctrl-C there or `make down`."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def holder(state: Path) -> int | None:
    """The process that runs a stack from this folder."""
    try:
        with lock_path(state).open() as file:
            return None if _locked(file.fileno()) else int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
