"""Blobs in a folder: `sha256/<first two>/<digest>`, written beside in `staging` and renamed into place."""

import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.blobs.staged import StagedUpload
from chorus_adapter_store.blobs.staging import Staging
from chorus_adapter_store.blobs.working import damaged, missing, on_disk
from chorus_adapter_store.uninterrupted import uninterrupted

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WHERE = "on the store's disk"


class DiskBlobs:
    def __init__(self, root: Path, files: Files | None = None) -> None:
        """Raises OSError when `root` cannot be written."""
        self._files = files or Files()
        self._root = root / "sha256"
        self._files.make_folder(self._root)
        self._staging = Staging(root / "staging", self._files)

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[StagedUpload]:
        upload = StagedUpload(self._staging.fresh_path(), self._files, self._place)
        try:
            yield upload
        finally:
            upload.discard()

    async def read(self, sha256: str, size: int) -> AsyncGenerator[bytes]:
        hasher = hashlib.sha256()
        at = 0
        with ExitStack() as opened:
            # Whoever is cancelled here waits for the file, so that it is closed and not forgotten.
            file = await uninterrupted(on_disk(_open, self.path_of(sha256), opened))
            if file is None:
                raise missing(sha256, _WHERE)
            while data := await on_disk(_read_hashed, file, at, hasher):
                at += len(data)
                if at > size:
                    break  # no end is in sight, and its digest cannot be right any more
                yield data
        if at != size or hasher.hexdigest() != sha256:
            raise damaged(sha256, _WHERE)

    async def digests(self) -> frozenset[str]:
        return await on_disk(self._list)

    async def remove(self, sha256: str) -> None:
        await on_disk(self._files.remove, self.path_of(sha256))

    def path_of(self, sha256: str) -> Path:
        """Where a blob is or would be; its bytes never change, so it may be mapped."""
        return self._root / sha256[:2] / sha256

    async def close(self) -> None:
        self._staging.close()

    async def _place(self, path: Path, _size: int, sha256: str) -> None:
        await on_disk(self._rename, path, self.path_of(sha256))

    def _rename(self, path: Path, target: Path) -> None:
        # Replaces what may be there: the same bytes by name, and good ones should the others have been damaged.
        self._files.make_folder(target.parent)
        self._files.replace(path, target)
        self._files.sync_folder(target.parent)

    def _list(self) -> frozenset[str]:
        return frozenset(path.name for path in self._root.glob("??/*") if _DIGEST.fullmatch(path.name))


def _open(path: Path, opened: ExitStack) -> BinaryIO | None:
    try:
        return opened.enter_context(path.open("rb", buffering=0))
    except FileNotFoundError:
        return None


def _read_hashed(file: BinaryIO, at: int, hasher: "hashlib._Hash") -> bytes:
    # pread, not read: a reader that was cancelled may still be here when its descriptor is another file's.
    data = os.pread(file.fileno(), CHUNK_BYTES, at)
    hasher.update(data)
    return data
