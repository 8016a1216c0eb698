"""Pins and engines as administrators see them, with engines in a real Redis."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from chorus_adapter_store.catalog import AliasCatalog, Catalog, Database, PinCatalog
from chorus_adapter_store.errors import Precondition
from chorus_adapter_store.placement.pinning import Pinning
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.values import AdapterName, Pin, PinStatus, Target, Tier
from tests.adapter_store.catalog.test_catalog import MINE, draft, publish
from tests.adapter_store.placement.announced import AnnouncedEngine
from tests.adapter_store.placement.fleet_model import ModelEngine

ONE, TWO = draft("one").digest, draft("two").digest


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With generations 1 and 2 of an adapter whose weights have 3 bytes each."""
    opened = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/catalog.db")
    for content in ("one", "two"):
        await publish(Catalog(opened), content)
    yield opened
    await opened.close()


@pytest.fixture
def pinning(database: Database, redis: Redis) -> Pinning:
    return Pinning(Catalog(database), PinCatalog(database), View(redis))


async def announce(redis: Redis, *engines: ModelEngine) -> None:
    for engine in engines:
        await AnnouncedEngine(redis, engine, "base").announce()


async def test_pins_beyond_what_engines_may_pin_are_refused_with_numbers(pinning: Pinning, redis: Redis) -> None:
    await announce(redis, ModelEngine("a", pool=12), ModelEngine("b", pool=6))
    await publish_other(pinning, "large-one")
    with pytest.raises(Precondition) as refused:
        await pinning.set("acme", "other", "", Tier.GPU, 0)
    assert str(refused.value) == (
        "engines: adapter 'other' takes 9 bytes in slots, for which 0 of the 2 engines wanted have room beside other "
        "pins (half of their memory for adapters); pin it on fewer, or remove another pin"
    )
    await pinning.set("acme", "tone", "", Tier.GPU, 0)
    await publish_other(pinning, "medium")
    with pytest.raises(Precondition, match=r"takes 6 bytes in slots, for which 0 of the 1 engines wanted"):
        await pinning.set("acme", "other", "", Tier.GPU, 1)
    await pinning.set("acme", "tone", "", Tier.GPU, 1)  # its own pin is replaced, not added to
    await pinning.remove("acme", "tone")
    await pinning.set("acme", "other", "", Tier.GPU, 1)


async def publish_other(pinning: Pinning, content: str) -> None:
    await publish(pinning._catalog, content, AdapterName("acme", "other"))


async def test_held_counts_engines_that_have_all_that_the_pin_means(
    pinning: Pinning, redis: Redis, database: Database
) -> None:
    await AliasCatalog(database).set(MINE, "prod", Target(1, 2, 10), 1.0)
    gpu = Tier.GPU
    await announce(
        redis,
        ModelEngine("a", gpu={ONE: 3, TWO: 3}, pinned={ONE: gpu, TWO: gpu}),
        ModelEngine("b", gpu={ONE: 3}, host={TWO: 3}, pinned={ONE: gpu, TWO: Tier.HOST}),
    )
    status = await pinning.set("acme", "tone", "prod", gpu, 0)
    assert status == PinStatus(Pin(MINE, "prod", gpu, 0), held=1)
    assert await pinning.all("acme") == (status,)
    assert [engine.engine_id for engine in await pinning.engines(TWO)] == ["a", "b"]
    assert await pinning.engines("0" * 64) == ()
    await redis.flushall()
    assert [each.held for each in await pinning.all("")] == [0]


async def test_engines_of_other_bases_do_not_limit_pins(pinning: Pinning, redis: Redis) -> None:
    await announce(redis, ModelEngine("a", pool=0))
    await redis.hset("chorus:engine:{a}", "model", "another")
    assert (await pinning.set("acme", "tone", "1", Tier.GPU, 0)).held == 0
