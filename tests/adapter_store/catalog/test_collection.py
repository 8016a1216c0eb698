"""Collection beside uploads of the same bytes, by two stores of one database and one disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_adapter_store.catalog import BaseCatalog, Database
from chorus_adapter_store.errors import InvalidArgument
from tests.adapter_store.support import BASE, make_upload
from tests.adapter_store.world import World

GOOD = [make_upload(seed=seed) for seed in range(2)]
BAD = make_upload().with_config(r=8)  # the same weights as a good one, refused by validation
ROUNDS = 6


@pytest.fixture
async def stores(database_url: str, tmp_path: Path) -> AsyncIterator[list[World]]:
    databases = [await Database.open(database_url) for _ in range(2)]
    await BaseCatalog(databases[0]).save(BASE, 1.0)
    yield [World(tmp_path, database, None) for database in databases]
    for database in databases:
        await database.close()


async def readable(world: World, digest: str) -> None:
    """Whole, as an engine checks it."""
    for file in await world.store.files(digest):
        content = b"".join([chunk async for chunk in world.store.read(file)])
        assert hashlib.sha256(content).hexdigest() == file.sha256


async def test_collection_never_takes_what_an_upload_has_named(stores: list[World]) -> None:
    working = True

    async def upload(world: World, name: str, offset: int) -> None:
        for number in range(ROUNDS):
            digest = await world.publish(GOOD[(offset + number) % len(GOOD)], name)
            await readable(world, digest)
            await asyncio.sleep(0)
            await readable(world, digest)
            await world.store.delete("acme", name, 0, "")

    async def refuse(world: World) -> None:
        for _ in range(ROUNDS):
            with pytest.raises(InvalidArgument):
                await world.publish(BAD, "bad")

    async def collect(world: World) -> None:
        while working:
            world.clock.now += 601  # past every grace period
            await world.janitor.sweep()
            await asyncio.sleep(0)

    collecting = [asyncio.create_task(collect(world)) for world in stores]
    uploads = [upload(world, f"{index}-{offset}", offset) for index, world in enumerate(stores) for offset in (0, 1)]
    await asyncio.gather(*uploads, *(refuse(world) for world in stores))
    working = False
    await asyncio.gather(*collecting)
    for world in stores:
        world.clock.now += 601
        await world.janitor.sweep()
    assert stores[0].blobs() == set()
    assert await stores[0].store.page("", 100, None, deleted=True) == ()
