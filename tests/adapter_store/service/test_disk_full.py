"""A disk that is full, or fails, at any step of an upload: one sentence, nothing left, and the next upload works."""

import asyncio
import errno
import os
import resource
from pathlib import Path
from typing import Any, BinaryIO

import grpc
import psutil
import pytest
from sqlalchemy import event

from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.catalog import Database
from chorus_adapter_store.errors import Unavailable
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import running
from tests.adapter_store.rpc import publish
from tests.adapter_store.support import BASE, make_upload
from tests.adapter_store.world import World, addresses


class FailingDisk(Files):
    """Fails at the nth thing that is done to it once it is told to, and works again after."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing = 0

    def arm(self, failing: int) -> None:
        self.done, self.failing = [], failing

    def _step(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) == self.failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> BinaryIO:
        self._step("create")
        return super().create(path)

    def write(self, file: BinaryIO, data: bytes) -> None:
        super().write(file, data[: len(data) // 2])
        self._step("write")
        super().write(file, data[len(data) // 2 :])

    def sync(self, file: BinaryIO) -> None:
        self._step("sync")
        super().sync(file)

    def make_folder(self, path: Path) -> None:
        self._step("make_folder")
        super().make_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")
        super().sync_folder(path)


async def test_a_disk_full_at_any_step_leaves_nothing_and_the_next_upload_works(
    tmp_path: Path, database: Database
) -> None:
    disk = FailingDisk()
    world = World(tmp_path, database, disk)
    failed: list[str] = []
    while True:
        upload, before = make_upload(seed=len(failed), lora_dropout=len(failed) / 100), world.blobs()
        disk.arm(len(failed) + 1)
        (answer,) = await asyncio.gather(world.publish(upload), return_exceptions=True)
        if isinstance(answer, str):
            break  # it took fewer steps than that
        assert isinstance(answer, Unavailable)
        assert str(answer) == "the store's disk failed (No space left on device); try again later"
        failed.append(disk.done[len(failed)])
        assert world.blobs() == before, failed
        assert len(await world.store.page("", 1000, None)) == len(failed) - 1
        await world.publish(upload)
    assert {"create", "write", "sync", "make_folder", "replace", "sync_folder"} == set(failed)
    assert len(failed) >= 12


async def test_a_failed_upload_does_not_take_the_bytes_of_another(tmp_path: Path, database: Database) -> None:
    disk = FailingDisk()
    world = World(tmp_path, database, disk)
    await world.publish(make_upload())
    disk.arm(0)
    await world.publish(make_upload())
    disk.arm(len(disk.done))
    with pytest.raises(Unavailable):
        await world.publish(make_upload(), "other")
    assert world.blobs() == addresses(make_upload())


async def test_a_catalog_whose_disk_is_full_leaves_nothing_and_the_next_upload_works(
    tmp_path: Path, database: Database
) -> None:
    world = World(tmp_path, database)
    await world.publish(make_upload())
    full = True

    def limit(connection: Any, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0] if full else 1 << 30
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        cursor.close()

    event.listen(database._engine.sync_engine, "checkout", limit)
    upload = make_upload(seed=1)
    with pytest.raises(Unavailable, match="database did not answer; try again later"):  # noqa: PT012
        for attempt in range(100):  # the last page may have room for one
            before = world.blobs()
            await world.publish(make_upload(seed=attempt + 2), f"n{attempt}")
    assert world.blobs() == before
    full = False
    await world.publish(upload)


async def test_a_disk_that_fails_for_good_is_left_to_the_sweep(tmp_path: Path, database: Database) -> None:
    """What cannot be removed now is removed when the disk is back."""

    class Stuck(FailingDisk):
        stuck = False

        def sync_folder(self, path: Path) -> None:
            if self.stuck:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().sync_folder(path)

        def remove(self, path: Path) -> None:
            if self.stuck:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().remove(path)

    disk = Stuck()
    world = World(tmp_path, database, disk)
    disk.stuck = True
    with pytest.raises(Unavailable, match="Input/output error"):
        await world.publish(make_upload())
    assert world.blobs()
    assert await world.store.page("", 10, None) == ()
    disk.stuck = False
    await world.janitor.sweep()
    assert {name for name in world.blobs() if len(name) == 64} == set()


def test_a_store_that_may_write_no_more_says_so_and_goes_on(tmp_path: Path) -> None:
    """A real process whose files may have 100,000 bytes at most, for as long as it takes to refuse one upload."""
    with running(tmp_path, BASE) as store, grpc.insecure_channel(store.address) as channel:
        stub = adapters_pb2_grpc.AdapterStoreStub(channel)
        process = psutil.Process(store.process.pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        large = make_upload(*(module.path.rpartition(".")[2] for module in BASE.modules), rank=64)
        assert len(large.weights_bytes) > 100_000
        with pytest.raises(grpc.RpcError) as caught:
            publish(stub, large)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the store's disk failed (File too large); try again later"
        assert store.files() == set()
        process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        publish(stub, large)
        assert store.files() == addresses(large)
