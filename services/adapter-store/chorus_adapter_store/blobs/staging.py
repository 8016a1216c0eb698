"""Where uploads lie until they are kept: one folder a process, locked for as long as the process lives.

A process that was killed leaves its folder without a lock, and the next one to start removes it; folders of processes
that still run, on this disk or a shared one, are left alone.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from chorus_adapter_store.blobs.files import Files

_LOCK = "lock"


class Staging:
    def __init__(self, root: Path, files: Files) -> None:
        """Take a folder below `root` and clear away those left behind. Raises OSError."""
        files.make_folder(root)
        self._folder = root / uuid4().hex
        with _locked(root / _LOCK):  # nobody clears a folder between its making and its locking
            self._folder.mkdir()
            self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            _clear_abandoned(root, keep=self._folder)

    def fresh_path(self) -> Path:
        return self._folder / uuid4().hex

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _clear_abandoned(root: Path, *, keep: Path) -> None:
    for folder in root.iterdir():
        if folder.is_dir() and folder != keep and _unlocked(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _unlocked(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True  # its process died before it took the lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
