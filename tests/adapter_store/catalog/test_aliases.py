"""Aliases with two generations, promotion, rollback and history."""

import asyncio

import pytest

from chorus_adapter_store.catalog import AliasCatalog, Catalog, Database
from chorus_adapter_store.catalog.aliasing import HISTORY
from chorus_adapter_store.errors import NotFound, Precondition
from chorus_adapter_store.values import LATEST, AdapterName, Resolution, Target
from tests.adapter_store.catalog.test_catalog import MINE, publish


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """With generations 1, 2 and 3, published at 1.0."""
    catalog = Catalog(database)
    for content in ("one", "two", "three"):
        await publish(catalog, content)
    return catalog


@pytest.fixture
def aliases(database: Database, catalog: Catalog) -> AliasCatalog:
    return AliasCatalog(database)


def shown(found: Resolution) -> tuple[int, int, int]:
    return found.generation.generation, found.canary.generation if found.canary else 0, found.percent


async def resolved(catalog: Catalog, version: str = "prod") -> tuple[int, int, int]:
    return shown(await catalog.resolve("acme", "acme", "tone", "demo", version))


async def targets(aliases: AliasCatalog, alias: str = "prod") -> list[Target | None]:
    return [change.target for change in await aliases.changes(MINE, alias)]


async def test_an_alias_of_two_generations_is_promoted_and_rolled_back(catalog: Catalog, aliases: AliasCatalog) -> None:
    await aliases.set(MINE, "prod", Target(1), 2.0)
    main = await aliases.set(MINE, "prod", Target(1, 2, 10), 3.0)
    assert (main.generation, main.aliases, main.canary_of) == (1, ("prod",), ())
    assert await resolved(catalog) == (1, 2, 10)
    assert (await resolved(catalog, "1"), await resolved(catalog, "2")) == ((1, 0, 0), (2, 0, 0))
    canary = (await catalog.resolve("acme", "acme", "tone", "demo", "2")).generation
    assert canary.canary_of == (("prod", 10),)
    await aliases.set(MINE, "prod", Target(2), 4.0)
    assert await resolved(catalog) == (2, 0, 0)
    await aliases.rollback(MINE, "prod", 5.0)
    assert await resolved(catalog) == (1, 2, 10)
    await aliases.rollback(MINE, "prod", 6.0)
    assert await resolved(catalog) == (2, 0, 0)
    history = [Target(2), Target(1, 2, 10), Target(2), Target(1, 2, 10), Target(1)]
    assert await targets(aliases) == history
    assert [change.changed_at for change in await aliases.changes(MINE, "prod")] == [6.0, 5.0, 4.0, 3.0, 2.0]


async def test_latest_is_rolled_back_to_what_was_published_before(catalog: Catalog, aliases: AliasCatalog) -> None:
    assert await targets(aliases, LATEST) == [Target(3), Target(2), Target(1)]
    assert (await aliases.rollback(MINE, LATEST, 2.0)).generation == 2
    assert await resolved(catalog, "") == (2, 0, 0)


async def test_an_alias_that_was_removed_is_brought_back(catalog: Catalog, aliases: AliasCatalog) -> None:
    await aliases.set(MINE, "prod", Target(1, 2, 10), 2.0)
    await aliases.remove(MINE, "prod", 3.0)
    with pytest.raises(NotFound, match="no version 'prod'"):
        await resolved(catalog)
    await aliases.rollback(MINE, "prod", 4.0)
    assert await resolved(catalog) == (1, 2, 10)
    assert await targets(aliases) == [Target(1, 2, 10), None, Target(1, 2, 10)]


async def test_a_rollback_to_nothing_or_to_what_is_deleted_is_refused(catalog: Catalog, aliases: AliasCatalog) -> None:
    with pytest.raises(NotFound, match="adapter 'tone' has no alias 'prod'"):
        await aliases.rollback(MINE, "prod", 2.0)
    await aliases.set(MINE, "prod", Target(1), 2.0)
    with pytest.raises(Precondition, match="alias 'prod' of adapter 'tone' pointed at nothing else before"):
        await aliases.rollback(MINE, "prod", 2.0)
    await aliases.set(MINE, "prod", Target(2), 2.0)
    await catalog.delete(MINE, 1, 3.0)
    with pytest.raises(Precondition, match="pointed at generation 1 before, which is retired or deleted"):
        await aliases.rollback(MINE, "prod", 4.0)
    assert await resolved(catalog) == (2, 0, 0)


async def test_a_missing_canary_changes_nothing(catalog: Catalog, aliases: AliasCatalog) -> None:
    await aliases.set(MINE, "prod", Target(1), 2.0)
    with pytest.raises(NotFound, match="adapter 'tone' has no generation 9"):
        await aliases.set(MINE, "prod", Target(2, 9, 10), 3.0)
    assert (await resolved(catalog), await targets(aliases)) == ((1, 0, 0), [Target(1)])
    with pytest.raises(NotFound, match="adapter 'none' does not exist"):
        await aliases.set(AdapterName("acme", "none"), "prod", Target(1), 3.0)
    with pytest.raises(NotFound, match="adapter 'none' has no alias 'prod'"):
        await aliases.changes(AdapterName("acme", "none"), "prod")


async def test_a_canary_is_not_deleted_alone_except_from_latest(catalog: Catalog, aliases: AliasCatalog) -> None:
    await aliases.set(MINE, "prod", Target(1, 2, 10), 2.0)
    with pytest.raises(Precondition, match="generation 2 of adapter 'tone' is still named by prod"):
        await catalog.delete(MINE, 2, 3.0)
    await aliases.set(MINE, "prod", Target(1), 2.0)
    await aliases.set(MINE, LATEST, Target(1, 2, 10), 2.0)
    await catalog.delete(MINE, 2, 3.0)
    assert await resolved(catalog, "") == (1, 0, 0)
    assert (await targets(aliases, LATEST))[:2] == [Target(1), Target(1, 2, 10)]
    await catalog.delete(MINE, 0, 4.0)
    assert await targets(aliases) == [None, Target(1), Target(1, 2, 10)]


async def test_a_new_upload_takes_all_of_latest(catalog: Catalog, aliases: AliasCatalog) -> None:
    await aliases.set(MINE, LATEST, Target(3, 1, 50), 2.0)
    await publish(catalog, "four")
    assert await resolved(catalog, "") == (4, 0, 0)


async def test_a_history_is_bounded(aliases: AliasCatalog) -> None:
    for number in range(HISTORY + 5):
        await aliases.set(MINE, "prod", Target(1 + number % 2), float(number))
    changes = await aliases.changes(MINE, "prod")
    assert [change.changed_at for change in changes] == [float(HISTORY + 4 - number) for number in range(HISTORY)]


async def test_who_resolves_while_an_alias_moves_sees_one_target_or_the_other(
    catalog: Catalog, aliases: AliasCatalog
) -> None:
    wanted = [Target(1), Target(1, 2, 10), Target(3, 1, 50), Target(2)]
    await aliases.set(MINE, "prod", wanted[0], 2.0)
    moving = True

    async def move() -> None:
        nonlocal moving
        for number in range(30):
            await aliases.set(MINE, "prod", wanted[number % len(wanted)], 2.0)
        moving = False

    async def ask() -> set[tuple[int, int, int]]:
        seen = set()
        while moving:
            seen.add(await resolved(catalog))
        return seen

    seen = set[tuple[int, int, int]]().union(*(await asyncio.gather(ask(), ask(), ask(), move()))[:3])
    assert len(seen) > 1
    assert seen <= {(each.generation, each.canary, each.percent) for each in wanted}
