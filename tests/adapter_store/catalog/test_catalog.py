"""Generations, aliases, deletes and who may see what."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from chorus_adapter_store.catalog import AliasCatalog, BaseCatalog, Catalog, Database
from chorus_adapter_store.errors import InvalidArgument, NotFound, Precondition
from chorus_adapter_store.values import (
    CONFIG_FILE,
    LATEST,
    WEIGHTS_FILE,
    AdapterFacts,
    AdapterName,
    Draft,
    Generation,
    Position,
    StoredFile,
    Target,
)
from tests.adapter_store.support import BASE

MINE = AdapterName("acme", "tone")


def stored(name: str, content: str) -> StoredFile:
    return StoredFile(name, hashlib.sha256(content.encode()).hexdigest(), len(content))


def draft(content: str = "w", adapter: AdapterName = MINE) -> Draft:
    facts = AdapterFacts(4, ("layers.0.self_attn.q_proj",))
    return Draft(adapter, BASE, facts, stored(CONFIG_FILE, "config"), stored(WEIGHTS_FILE, content))


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


@pytest.fixture
def aliases(database: Database) -> AliasCatalog:
    return AliasCatalog(database)


async def kept() -> None:
    """Blobs that are in place at once."""


async def publish(catalog: Catalog, content: str = "w", adapter: AdapterName = MINE) -> tuple[Generation, bool]:
    return await catalog.publish(draft(content, adapter), 1.0, kept)


async def resolve(catalog: Catalog, version: str = "", *, tenant: str = "acme", name: str = "tone") -> Generation:
    return (await catalog.resolve(tenant, "acme", name, "demo", version)).generation


async def test_generations_grow_and_latest_follows(catalog: Catalog) -> None:
    first, created = await publish(catalog, "one")
    assert (first.generation, created, first.aliases) == (1, True, (LATEST,))
    second, _ = await publish(catalog, "two")
    assert second.generation == 2
    assert await resolve(catalog) == second
    assert await resolve(catalog, "1") == replace(first, aliases=())
    assert (await resolve(catalog, "002")).generation == 2


async def test_the_same_bytes_again_add_nothing(catalog: Catalog) -> None:
    first, _ = await publish(catalog, "one")
    assert await publish(catalog, "one") == (first, False)
    await publish(catalog, "two")
    again, created = await publish(catalog, "one")
    assert (again.generation, created, again.digest) == (3, True, first.digest)


async def test_other_tenants_share_bytes_but_not_adapters(catalog: Catalog) -> None:
    mine, _ = await publish(catalog)
    theirs, created = await publish(catalog, adapter=AdapterName("globex", "tone"))
    assert created
    assert theirs.digest == mine.digest
    await catalog.delete(MINE, 0, 2.0)
    assert (await catalog.resolve("globex", "globex", "tone", "demo", "")).generation.generation == 1


async def test_concurrent_publications_of_one_name_each_get_a_number(catalog: Catalog) -> None:
    results = await asyncio.gather(*(publish(catalog, f"bytes {index}") for index in range(8)))
    assert sorted(generation.generation for generation, _ in results) == list(range(1, 9))
    assert (await resolve(catalog)).generation == 8


async def test_concurrent_publications_of_the_same_bytes_add_one_generation(catalog: Catalog) -> None:
    results = await asyncio.gather(*(publish(catalog) for _ in range(8)))
    assert sum(created for _, created in results) == 1
    assert {generation.generation for generation, _ in results} == {1}


async def test_what_fails_to_be_kept_is_not_in_the_catalog(catalog: Catalog) -> None:
    async def broken() -> None:
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        await catalog.publish(draft(), 1.0, broken)
    assert await catalog.count() == 0
    with pytest.raises(NotFound, match="adapter 'tone' does not exist"):
        await resolve(catalog)


async def test_another_tenants_adapter_reads_exactly_as_a_missing_one(catalog: Catalog) -> None:
    await publish(catalog)
    words = []
    for name in ("tone", "none"):
        for version in ("", "1", "9", "prod"):
            for model in ("demo", "other"):
                with pytest.raises(NotFound) as caught:
                    await catalog.resolve("globex", "acme", name, model, version)
                words.append(str(caught.value).replace(name, "*"))
    assert set(words) == {"adapter 'acme/*' does not exist"}


async def test_the_owner_is_told_what_is_wrong(catalog: Catalog) -> None:
    await publish(catalog)
    with pytest.raises(NotFound, match="adapter 'tone' has no version 'prod'; it has 1, latest"):
        await resolve(catalog, "prod")
    for version in ("0", "99999999999999999999", "²"):
        with pytest.raises(NotFound, match="has no version"):
            await resolve(catalog, version)
    with pytest.raises(NotFound, match="adapter 'tone' is for base 'demo', not 'other'"):
        await catalog.resolve("acme", "acme", "tone", "other", "")
    assert (await catalog.resolve("acme", "acme", "tone", "", "")).generation.generation == 1


async def test_a_name_belongs_to_one_base_until_it_is_deleted(catalog: Catalog) -> None:
    await publish(catalog)
    other = replace(draft("two"), base=replace(BASE, name="other"))
    with pytest.raises(InvalidArgument, match="model: adapter 'tone' is for base 'demo', not 'other'"):
        await catalog.publish(other, 1.0, kept)
    await catalog.delete(MINE, 0, 1.0)
    moved, _ = await catalog.publish(other, 1.0, kept)
    assert (moved.model, moved.generation) == ("other", 2)


async def test_aliases_move_and_go(catalog: Catalog, aliases: AliasCatalog) -> None:
    await publish(catalog, "one")
    await publish(catalog, "two")
    assert (await aliases.set(MINE, "prod", Target(1), 2.0)).aliases == ("prod",)
    assert (await resolve(catalog, "prod")).generation == 1
    assert (await aliases.set(MINE, "prod", Target(2), 2.0)).aliases == (LATEST, "prod")
    assert (await aliases.set(MINE, LATEST, Target(1), 2.0)).generation == 1
    assert (await resolve(catalog)).generation == 1
    assert (await aliases.remove(MINE, "prod", 2.0)).generation == 2
    with pytest.raises(NotFound, match="no version 'prod'"):
        await resolve(catalog, "prod")
    for number in (3, 2**32 - 1):
        with pytest.raises(NotFound, match="adapter 'tone' has no generation"):
            await aliases.set(MINE, "prod", Target(number), 2.0)
    with pytest.raises(NotFound, match="adapter 'tone' has no alias 'prod'"):
        await aliases.remove(MINE, "prod", 2.0)
    with pytest.raises(NotFound, match="adapter 'tone' does not exist"):
        await aliases.set(AdapterName("globex", "tone"), "prod", Target(1), 2.0)


async def test_a_deleted_generation_has_no_name_and_no_successor(catalog: Catalog) -> None:
    await publish(catalog, "one")
    second, _ = await publish(catalog, "two")
    (retired,) = await catalog.delete(MINE, 2, 5.0)
    assert retired == second
    assert (await resolve(catalog)).generation == 1
    assert await catalog.files(second.digest) == second.files
    third, _ = await publish(catalog, "three")
    assert third.generation == 3
    assert len(await catalog.delete(MINE, 0, 5.0)) == 2
    with pytest.raises(NotFound, match="adapter 'tone' does not exist"):
        await catalog.delete(MINE, 0, 5.0)
    fourth, created = await publish(catalog, "three")
    assert (fourth.generation, created) == (4, True)


async def test_a_generation_with_an_alias_is_not_deleted_alone(catalog: Catalog, aliases: AliasCatalog) -> None:
    await publish(catalog)
    await aliases.set(MINE, "prod", Target(1), 2.0)
    with pytest.raises(Precondition, match="generation 1 of adapter 'tone' is still named by prod"):
        await catalog.delete(MINE, 1, 5.0)
    assert len(await catalog.delete(MINE, 0, 5.0)) == 1
    with pytest.raises(NotFound, match="no adapter has the digest"):
        await catalog.files("0" * 64)


async def test_pages_cover_everything_once_in_order(catalog: Catalog) -> None:
    names = [AdapterName(tenant, name) for tenant in ("acme", "globex") for name in ("a-b", "a.b", "a_b", "ab")]
    for adapter in reversed(names):
        for content in ("one", "two"):
            await publish(catalog, content, adapter)
    seen: list[Position] = []
    while page := await catalog.page("", 3, seen[-1] if seen else None):
        seen += [Position(each.adapter.tenant, each.adapter.name, each.generation) for each in page]
    assert seen == [Position(each.tenant, each.name, number) for each in names for number in (2, 1)]
    assert len(await catalog.page("acme", 100, None)) == 8
    assert await catalog.page("initech", 100, None) == ()
    assert await catalog.count() == 8


async def test_a_base_is_what_its_name_was_last_seen_to_mean(database: Database) -> None:
    bases = BaseCatalog(database)
    assert await bases.find("demo") is None
    await bases.save(BASE, 1.0)
    newer = replace(BASE, digest="f" * 64, num_layers=3)
    await bases.save(newer, 2.0)
    assert await bases.find("demo") == newer
    await bases.save(BASE, 3.0)
    assert await bases.find("demo") == BASE
    assert await bases.names() == ("demo",)
