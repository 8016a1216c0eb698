"""Uploads that the client or the clock ends: nothing is left of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_adapter_store.catalog import Database
from chorus_adapter_store.errors import NotFound
from chorus_adapter_store.uploading import Part
from chorus_adapter_store.values import CONFIG_FILE
from tests.adapter_store.support import make_upload
from tests.adapter_store.world import World, addresses


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
