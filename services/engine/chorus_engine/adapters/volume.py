"""The store's blobs, where its folder is a volume that the engine can read."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from chorus_engine.adapters.host import FileHead

CHUNK = 1 << 20  # bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Locator(Protocol):
    async def locate(self, digest: str, traceparent: str = "") -> tuple[FileHead, ...]: ...


class VolumeReader:
    """Reads what is there and leaves it to others to hash it.

    Blobs are read, not mapped: a file that is cut off under a mapping would kill the process.
    """

    def __init__(self, folder: Path, store: Locator) -> None:
        """`folder`: with the store's `sha256` in it."""
        self._folder = folder / "sha256"
        self._store = store

    async def fetch(self, digest: str, traceparent: str = "") -> AsyncGenerator[FileHead | bytes]:
        """As the store's. Raises OSError too, for a blob that is missing or cannot be read."""
        for head in await self._store.locate(digest, traceparent):
            yield head
            async for data in self._read(head):
                yield data

    async def _read(self, head: FileHead) -> AsyncGenerator[bytes]:
        if not _SHA256.fullmatch(head.sha256):
            raise FileNotFoundError(f"{head.sha256[:80]!r} names no blob")
        path = self._folder / head.sha256[:2] / head.sha256
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY)
        try:
            at = 0
            while at < head.size and (data := await asyncio.to_thread(os.pread, descriptor, CHUNK, at)):
                at += len(data)
                yield data
        finally:
            os.close(descriptor)  # a read that was cancelled may go on in its thread: nobody looks at what it reads
