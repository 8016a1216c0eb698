"""Blobs on a disk: visible only when whole, never a trace of what failed."""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from chorus_adapter_store.blobs import DiskBlobs
from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.errors import Unavailable
from tests.adapter_store.blobs.content import CONTENT, DIGEST, files_below, store


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


@pytest.mark.parametrize("operation", ["create", "write", "sync", "replace"])
async def test_a_full_disk_is_unavailable_and_leaves_no_trace(tmp_path: Path, operation: str) -> None:
    blobs = DiskBlobs(tmp_path, FailingFiles(operation))
    with pytest.raises(Unavailable, match="No space left on device"):
        await store(blobs)
    assert files_below(tmp_path) == set()
    await blobs.close()
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
        await DiskBlobs(tmp_path).close()
        assert upload.path.stat().st_size == len(CONTENT)
        await upload.seal()
        await upload.keep()
    assert files_below(tmp_path) == {DIGEST}
