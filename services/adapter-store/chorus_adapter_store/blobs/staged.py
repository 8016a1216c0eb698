"""An upload in a file of its own until it is put where it belongs."""

import hashlib
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.working import on_disk

# Puts a file of so many bytes at its digest, durably; it may move the file.
Place = Callable[[Path, int, str], Awaitable[None]]


class StagedUpload:
    """Work that was cancelled goes on in its thread, so all work on the file and its end take turns: nothing is written
    to a descriptor that meanwhile is another file's, and no file appears after `discard`."""

    def __init__(self, path: Path, files: Files, place: Place) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO | None = None  # made by the first write
        self._files = files
        self._place = place
        self._hasher = hashlib.sha256()
        self._turn = threading.Lock()
        self._discarded = False

    async def write(self, data: bytes) -> None:
        await on_disk(self._write, data)
        self.size += len(data)

    async def seal(self) -> str:
        await on_disk(self._seal)
        return self._hasher.hexdigest()

    async def send(self) -> None:
        """A rename takes no time."""

    async def keep(self) -> None:
        await self._place(self.path, self.size, self._hasher.hexdigest())

    def discard(self) -> None:
        """Synchronous, so that a cancelled upload is gone with its handler; what fails is cleared at a later start."""
        with self._turn:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                with suppress(OSError):
                    self._files.remove(self.path)

    def _write(self, data: bytes) -> None:
        with self._turn:
            if not self._discarded:
                self._files.write(self._opened(), data)
                self._hasher.update(data)

    def _seal(self) -> None:
        with self._turn:
            if not self._discarded:
                self._files.sync(self._opened())

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._files.create(self.path)
        return self._file
