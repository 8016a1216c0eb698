"""Pins, the placer's terms, and what was used lately."""

import asyncio
from dataclasses import replace

import pytest

from chorus_adapter_store.catalog import (
    AliasCatalog,
    Catalog,
    Database,
    LifecycleCatalog,
    PinCatalog,
    PlacingCatalog,
    TermCatalog,
    UsageCatalog,
)
from chorus_adapter_store.errors import NotFound
from chorus_adapter_store.values import EMBEDDING, HEAD, AdapterFacts, AdapterName, Pin, Target, Tier, Usage
from tests.adapter_store.catalog.test_catalog import MINE, draft, kept, publish

PIN = Pin(MINE, "prod", Tier.GPU, 2)


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """With generations 1 and 2, of which "prod" is the first."""
    catalog = Catalog(database)
    for content in ("one", "two"):
        await publish(catalog, content)
    await AliasCatalog(database).set(MINE, "prod", Target(1), 1.0)
    return catalog


@pytest.fixture
def pins(database: Database, catalog: Catalog) -> PinCatalog:
    return PinCatalog(database)


async def meant(pins: PinCatalog) -> list[str]:
    ((_, files),) = await pins.all("acme")
    return [file.digest for file in files]


async def test_a_pin_follows_its_alias_and_both_generations_of_a_canary(database: Database, pins: PinCatalog) -> None:
    await pins.set(PIN)
    assert [pin for pin, _ in await pins.all()] == [PIN]
    assert await meant(pins) == [draft("one").digest]
    await AliasCatalog(database).set(MINE, "prod", Target(2), 2.0)
    assert await meant(pins) == [draft("two").digest]
    await AliasCatalog(database).set(MINE, "prod", Target(2, 1, 10), 3.0)
    assert await meant(pins) == [draft("one").digest, draft("two").digest]


async def test_one_pin_a_name(pins: PinCatalog) -> None:
    await pins.set(PIN)
    await pins.set(Pin(MINE, "2", Tier.HOST))
    ((pin, (file,)),) = await pins.all()
    assert (pin, file.digest) == (Pin(MINE, "2", Tier.HOST), draft("two").digest)
    assert (file.models, file.rank, file.size) == (
        frozenset({"demo"}),
        draft("two").facts.rank,
        draft("two").weights.size,
    )


async def test_a_pin_that_is_removed_is_gone(pins: PinCatalog) -> None:
    await pins.set(PIN)
    await pins.remove(MINE)
    assert await pins.all() == ()
    with pytest.raises(NotFound, match="adapter 'tone' is not pinned"):
        await pins.remove(MINE)


async def test_an_adapter_that_does_not_exist_cannot_be_pinned(pins: PinCatalog) -> None:
    with pytest.raises(NotFound, match="adapter 'other' does not exist"):
        await pins.set(Pin(AdapterName("acme", "other"), "latest"))


async def test_a_pin_goes_with_the_adapter_and_comes_back_with_it(
    database: Database, catalog: Catalog, pins: PinCatalog
) -> None:
    await pins.set(PIN)
    await catalog.delete(MINE, 0, 5.0)
    assert await pins.all() == ()
    with pytest.raises(NotFound, match="adapter 'tone' does not exist"):
        await pins.remove(MINE)
    await LifecycleCatalog(database).restore(MINE, 0, 6.0)
    assert [pin for pin, _ in await pins.all()] == [PIN]


async def test_a_name_that_begins_anew_is_not_pinned(catalog: Catalog, pins: PinCatalog) -> None:
    await pins.set(PIN)
    await catalog.delete(MINE, 0, 5.0)
    await publish(catalog, "three")
    assert await pins.all() == ()


async def test_a_pin_of_a_version_that_is_gone_means_nothing(database: Database, pins: PinCatalog) -> None:
    await pins.set(Pin(MINE, "2"))
    await LifecycleCatalog(database).retire(MINE, 2, "", 5.0)
    assert await meant(pins) == []


async def test_only_what_requests_may_use_is_placed(database: Database, catalog: Catalog) -> None:
    placing = PlacingCatalog(database)
    digests = {draft("one").digest, draft("two").digest, "0" * 64}
    await LifecycleCatalog(database).retire(MINE, 2, "", 5.0)
    (file,) = (await placing.files(digests)).values()
    assert (file.digest, file.models) == (draft("one").digest, frozenset({"demo"}))


async def test_modules_outside_the_layers_are_known(database: Database, catalog: Catalog) -> None:
    found = set()
    for number, modules in enumerate((("layers.0.mlp.lm_head_proj",), ("layers.0.q", HEAD), (EMBEDDING, HEAD))):
        each = draft(f"outer{number}", AdapterName("acme", f"outer{number}"))
        generation, _ = await catalog.publish(replace(each, facts=AdapterFacts(4, modules)), 1.0, kept)
        file = (await PlacingCatalog(database).files({each.digest}))[each.digest]
        assert file.outer_modules == generation.facts.outer_modules
        found.add(file.outer_modules)
    assert found == {frozenset(), frozenset({HEAD}), frozenset({EMBEDDING, HEAD})}


async def test_terms_only_grow(database: Database) -> None:
    terms = TermCatalog(database)
    assert [await terms.take(), await terms.take(), await terms.take(above=40), await terms.take(above=7)] == [
        1,
        2,
        41,
        42,
    ]
    taken = await asyncio.gather(*(TermCatalog(database).take() for _ in range(8)))
    assert sorted(taken) == list(range(43, 51))


async def test_what_was_used_is_kept_by_base(database: Database) -> None:
    usage = UsageCatalog(database)
    first = Usage("a" * 64, "1" * 64, 2.5, 10.0)
    other = Usage("b" * 64, "1" * 64, 1.0, 11.0)
    await usage.replace(first.base_digest, [first])
    await usage.replace(other.base_digest, [other])
    assert await usage.read() == (first, other)
    await usage.replace(first.base_digest, [])
    assert await usage.read() == (other,)
