"""Blobs in an S3-compatible bucket: `<prefix>/sha256/<first two>/<digest>`. Uploads are staged on the local disk."""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.protocol import Upload
from chorus_adapter_store.blobs.staged import Place, StagedUpload
from chorus_adapter_store.blobs.staging import Staging
from chorus_adapter_store.blobs.working import damaged, missing
from chorus_adapter_store.errors import Unavailable

if TYPE_CHECKING:
    from chorus_adapter_store.blobs.bucket import Bucket

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WHERE = "in the store's bucket"


class S3Blobs:
    def __init__(self, bucket: "Bucket", root: str, staging: Path, files: Files | None = None) -> None:
        """`root`: bucket/prefix. Raises OSError when `staging` cannot be written."""
        self._bucket = bucket
        self._root = f"{root}/sha256"
        self._files = files or Files()
        self._staging = Staging(staging / "staging", self._files)

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[Upload]:
        upload = _SentUpload(self._staging.fresh_path(), self._files, self._place, self._is_there)
        try:
            yield upload
        finally:
            upload.discard()

    async def read(self, sha256: str, size: int) -> AsyncGenerator[bytes]:
        hasher = hashlib.sha256()
        at = 0
        try:
            async with aclosing(self._bucket.read(self.path_of(sha256))) as chunks:
                async for chunk in chunks:
                    hasher.update(chunk)
                    at += len(chunk)
                    if at > size:
                        break  # no end is in sight, and its digest cannot be right any more
                    yield chunk
        except FileNotFoundError:
            raise missing(sha256, _WHERE) from None
        if at != size or hasher.hexdigest() != sha256:
            raise damaged(sha256, _WHERE)

    async def digests(self) -> frozenset[str]:
        return frozenset(name for name in await self._bucket.names(self._root) if _DIGEST.fullmatch(name))

    async def remove(self, sha256: str) -> None:
        await self._bucket.remove(self.path_of(sha256))

    def path_of(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"

    async def close(self) -> None:
        self._staging.close()

    async def _place(self, file: Path, size: int, sha256: str) -> None:
        """The server checks what it is sent by a checksum, and shows it when it has all of it."""
        await self._bucket.put(file, size, self.path_of(sha256))
        if not await self._is_there(size, sha256):
            raise Unavailable(f"the bucket did not keep the blob {sha256}; try again later")

    async def _is_there(self, size: int, sha256: str) -> bool:
        found = await self._bucket.find(self.path_of(sha256))
        return found is not None and found.size == size


class _SentUpload(StagedUpload):
    """What was sent is not sent again when it is kept, unless it was removed meanwhile."""

    def __init__(self, path: Path, files: Files, place: Place, is_there: Callable[[int, str], Awaitable[bool]]) -> None:
        super().__init__(path, files, place)
        self._is_there = is_there
        self._sent = False

    async def send(self) -> None:
        await super().keep()
        self._sent = True

    async def keep(self) -> None:
        if not (self._sent and await self._is_there(self.size, self._hasher.hexdigest())):
            await super().keep()
