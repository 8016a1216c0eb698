"""Blobs in a folder: `sha256/<first two>/<digest>`, written beside in `staging` and renamed into place."""

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.blobs.staging import Staging
from chorus_adapter_store.errors import DataLoss, Unavailable

_P = ParamSpec("_P")
_R = TypeVar("_R")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DiskBlobs:
    def __init__(self, root: Path, files: Files | None = None) -> None:
        """Raises OSError when `root` cannot be written."""
        self._files = files or Files()
        self._root = root / "sha256"
        self._files.make_folder(self._root)
        self._staging = Staging(root / "staging", self._files)

    @asynccontextmanager
    async def upload(self) -> AsyncIterator["DiskUpload"]:
        upload = DiskUpload(self._staging.fresh_path(), self._files, self.path_of)
        try:
            yield upload
        finally:
            upload.discard()

    async def read(self, sha256: str) -> AsyncGenerator[bytes]:
        file = await _on_disk(_open, self.path_of(sha256))
        if file is None:
            raise DataLoss(f"the blob {sha256} is missing on the store's disk; upload the adapter again")
        hasher = hashlib.sha256()
        at = 0
        with file:
            while data := await _on_disk(_read_hashed, file, at, hasher):
                at += len(data)
                yield data
        if hasher.hexdigest() != sha256:
            raise DataLoss(f"the blob {sha256} is damaged on the store's disk; upload the adapter again")

    async def digests(self) -> frozenset[str]:
        return await _on_disk(self._list)

    async def remove(self, sha256: str) -> None:
        await _on_disk(self._files.remove, self.path_of(sha256))

    def path_of(self, sha256: str) -> Path:
        """Where a blob is or would be; its bytes never change, so it may be mapped."""
        return self._root / sha256[:2] / sha256

    def close(self) -> None:
        self._staging.close()

    def _list(self) -> frozenset[str]:
        return frozenset(path.name for path in self._root.glob("??/*") if _DIGEST.fullmatch(path.name))


class DiskUpload:
    """Work that was cancelled goes on in its thread, so all work on the file and its end take turns: nothing is written
    to a descriptor that meanwhile is another file's, and no file appears after `discard`."""

    def __init__(self, path: Path, files: Files, path_of: Callable[[str], Path]) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO | None = None  # made by the first write
        self._files = files
        self._path_of = path_of
        self._hasher = hashlib.sha256()
        self._turn = threading.Lock()
        self._discarded = False

    async def write(self, data: bytes) -> None:
        await _on_disk(self._write, data)
        self.size += len(data)

    async def seal(self) -> str:
        await _on_disk(self._seal)
        return self._hasher.hexdigest()

    async def keep(self) -> None:
        await _on_disk(self._keep, self._path_of(self._hasher.hexdigest()))

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

    def _keep(self, target: Path) -> None:
        # Replaces what may be there: the same bytes by name, and good ones should the others have been damaged.
        self._files.make_folder(target.parent)
        self._files.replace(self.path, target)
        self._files.sync_folder(target.parent)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _read_hashed(file: BinaryIO, at: int, hasher: "hashlib._Hash") -> bytes:
    # pread, not read: a reader that was cancelled may still be here when its descriptor is another file's.
    data = os.pread(file.fileno(), CHUNK_BYTES, at)
    hasher.update(data)
    return data


async def _on_disk(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run `work` off the event loop. Raises Unavailable when the disk fails."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise Unavailable(f"the store's disk failed ({error.strerror or error}); try again later") from error
