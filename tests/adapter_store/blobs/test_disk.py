"""Blobs on a disk: visible only when whole, never a trace of what failed."""

import asyncio
import errno
import hashlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from chorus_adapter_store.blobs import DiskBlobs
from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.blobs.protocol import CHUNK_BYTES
from chorus_adapter_store.errors import DataLoss, Unavailable

CONTENT = os.urandom(3 * CHUNK_BYTES + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class FailingFiles(Files):
    """A disk on which one operation fails, as a full one does."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def _check(self, operation: str) -> None:
        if operation == self._operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> BinaryIO:
        self._check("create")
        return super().create(path)

    def write(self, file: BinaryIO, data: bytes) -> None:
        super().write(file, data[: len(data) // 2])
        self._check("write")
        super().write(file, data[len(data) // 2 :])

    def sync(self, file: BinaryIO) -> None:
        self._check("sync")
        super().sync(file)

    def replace(self, source: Path, target: Path) -> None:
        self._check("replace")
        super().replace(source, target)


def files_below(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file() and path.name != "lock"}


async def store(blobs: DiskBlobs, content: bytes = CONTENT) -> str:
    async with blobs.upload() as upload:
        for at in range(0, len(content), CHUNK_BYTES):
            await upload.write(content[at : at + CHUNK_BYTES])
        digest = await upload.seal()
        await upload.keep()
        return digest


async def test_bytes_come_back_under_their_digest(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    assert await store(blobs) == DIGEST
    chunks = [chunk async for chunk in blobs.read(DIGEST)]
    assert b"".join(chunks) == CONTENT
    assert max(len(chunk) for chunk in chunks) <= CHUNK_BYTES
    assert await blobs.digests() == {DIGEST}
    blobs.close()


async def test_an_upload_that_is_not_kept_leaves_no_trace(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    async with blobs.upload() as upload:
        await upload.write(CONTENT)
        assert upload.path.stat().st_size == len(CONTENT)
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("operation", ["create", "write", "sync", "replace"])
async def test_a_full_disk_is_unavailable_and_leaves_no_trace(tmp_path: Path, operation: str) -> None:
    blobs = DiskBlobs(tmp_path, FailingFiles(operation))
    with pytest.raises(Unavailable, match="No space left on device"):
        await store(blobs)
    assert files_below(tmp_path) == set()
    blobs.close()
    assert await store(DiskBlobs(tmp_path)) == DIGEST


async def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(tmp_path: Path) -> None:
    script = f"""
import asyncio, os
from pathlib import Path
from chorus_adapter_store.blobs import DiskBlobs
async def main():
    async with DiskBlobs(Path({str(tmp_path)!r})).upload() as upload:
        await upload.write(b"half")
        os._exit(9)
asyncio.run(main())
"""
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await killed.wait() == 9
    assert len(files_below(tmp_path)) == 1
    living = DiskBlobs(tmp_path)
    assert files_below(tmp_path) == set()
    async with living.upload() as upload:
        await upload.write(CONTENT)
        DiskBlobs(tmp_path).close()
        assert upload.path.stat().st_size == len(CONTENT)
        await upload.seal()
        await upload.keep()
    assert files_below(tmp_path) == {DIGEST}


async def test_a_damaged_blob_is_told_at_its_end_and_healed_by_another_upload(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    await store(blobs)
    path = blobs.path_of(DIGEST)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DataLoss, match=f"{DIGEST} is damaged"):
        [chunk async for chunk in blobs.read(DIGEST)]
    await store(blobs)
    assert b"".join([chunk async for chunk in blobs.read(DIGEST)]) == CONTENT


async def test_a_missing_blob_is_data_loss(tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match="is missing"):
        [chunk async for chunk in DiskBlobs(tmp_path).read(DIGEST)]


async def test_a_reader_finishes_after_the_removal(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    await store(blobs)
    reading = blobs.read(DIGEST)
    begun = await anext(reading)
    await blobs.remove(DIGEST)
    await blobs.remove(DIGEST)
    assert begun + b"".join([chunk async for chunk in reading]) == CONTENT
    assert await blobs.digests() == frozenset()
