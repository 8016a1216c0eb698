"""Uploads that the disk, the client or the clock ends: nothing is left of them."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_adapter_store.blobs import DiskBlobs
from chorus_adapter_store.blobs.files import Files
from chorus_adapter_store.catalog import (
    AliasCatalog,
    BaseCatalog,
    Catalog,
    Database,
    HistoryCatalog,
    LifecycleCatalog,
    Retention,
    SharingCatalog,
)
from chorus_adapter_store.errors import NotFound, Unavailable
from chorus_adapter_store.events import Event
from chorus_adapter_store.janitor import Janitor
from chorus_adapter_store.store import AdapterStore
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.uploading import Part
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts, BaseSpec
from tests.adapter_store.support import BASE, Upload, make_upload


class NoEvents:
    async def send(self, *events: Event) -> None:
        """Nobody listens."""


class Here:
    """Checks in this process."""

    async def validate(self, config: Path, weights: Path, base: BaseSpec) -> AdapterFacts:
        return await asyncio.to_thread(check_adapter, config, weights, base, Limits())


class FullDisk(Files):
    """Fails at the nth rename, the last step of an upload, and works again after."""

    def __init__(self, failing: int) -> None:
        self._left = failing

    def replace(self, source: Path, target: Path) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().replace(source, target)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A store in this process, on a disk that may fail and a clock that is moved by hand."""

    def __init__(self, folder: Path, database: Database, files: Files | None) -> None:
        self.folder = folder
        self.clock = Clock()
        blobs = DiskBlobs(folder / "blobs", files)
        limits = Limits()
        history = HistoryCatalog(database)
        self.janitor = Janitor(Retention(database), history, blobs, grace=600, clock=self.clock)
        self.store = AdapterStore(
            catalog=Catalog(database),
            lifecycle=LifecycleCatalog(database),
            history=history,
            aliases=AliasCatalog(database),
            sharing=SharingCatalog(database),
            bases=BaseCatalog(database),
            blobs=blobs,
            validator=Here(),
            events=NoEvents(),
            janitor=self.janitor,
            metrics=Metrics(),
            limits=limits,
            clock=self.clock,
        )

    async def publish(self, upload: Upload, name: str = "tone") -> str:
        generation, _ = await self.store.publish("acme", name, "demo", parts(upload))
        return generation.digest

    def blobs(self) -> set[str]:
        found = (self.folder / "blobs").rglob("*")
        return {path.name for path in found if path.is_file() and path.name != "lock"}


async def parts(upload: Upload) -> AsyncIterator[Part]:
    yield CONFIG_FILE, upload.config_bytes
    yield WEIGHTS_FILE, upload.weights_bytes


def addresses(*uploads: Upload) -> set[str]:
    contents = [content for each in uploads for content in (each.config_bytes, each.weights_bytes)]
    return {hashlib.sha256(content).hexdigest() for content in contents}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/store.db")
    await BaseCatalog(opened).save(BASE, 1.0)
    yield opened
    await opened.close()


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_disk_full_at_the_last_step_leaves_nothing(tmp_path: Path, database: Database, failing: int) -> None:
    world = World(tmp_path, database, FullDisk(failing))
    with pytest.raises(Unavailable, match="No space left on device"):
        await world.publish(make_upload())
    assert world.blobs() == set()
    assert await world.store.page("", 10, None) == ()
    await world.publish(make_upload())
    assert world.blobs() == addresses(make_upload())


async def test_a_failed_upload_does_not_take_the_bytes_of_another(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, FullDisk(failing=4))
    await world.publish(make_upload())
    with pytest.raises(Unavailable):
        await world.publish(make_upload(), "other")
    assert world.blobs() == addresses(make_upload())


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, None)
    begun = asyncio.Event()

    async def stalling() -> AsyncIterator[Part]:
        yield CONFIG_FILE, b"{"
        begun.set()
        await asyncio.sleep(60)

    publishing = asyncio.create_task(world.store.publish("acme", "tone", "demo", stalling()))
    await begun.wait()
    assert len(world.blobs()) == 1
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert world.blobs() == set()


async def test_an_upload_cancelled_at_any_moment_is_whole_or_absent(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, None)
    for attempt in range(25):
        upload = make_upload(seed=attempt)
        publishing = asyncio.create_task(world.publish(upload, f"n{attempt}"))
        await asyncio.sleep(attempt * 0.002)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    await world.janitor.sweep()
    generations = await world.store.page("", 100, None)
    assert world.blobs() == {file.sha256 for generation in generations for file in generation.files}


async def test_bytes_go_when_the_last_generation_that_names_them_has_gone(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, None)
    shared, own = make_upload(seed=1), make_upload(seed=2)
    digest = await world.publish(shared)
    await world.publish(shared, "copy")
    gone = await world.publish(own)
    await world.store.delete("acme", "tone", 0, "")
    world.clock.now += 599
    await world.janitor.sweep()
    assert world.blobs() == addresses(shared, own)
    assert len(await world.store.files(gone)) == 2
    world.clock.now += 2
    await world.janitor.sweep()
    assert world.blobs() == addresses(shared)
    assert len(await world.store.files(digest)) == 2
    with pytest.raises(NotFound):
        await world.store.files(gone)
