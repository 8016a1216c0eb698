"""Generations that are retired, deleted, restored and gone."""

import asyncio
from dataclasses import replace

import pytest

from chorus_adapter_store.catalog import (
    AliasCatalog,
    Catalog,
    Database,
    HistoryCatalog,
    LifecycleCatalog,
    Retention,
    SharingCatalog,
)
from chorus_adapter_store.errors import NotFound, Precondition
from chorus_adapter_store.values import LATEST, AdapterName, Generation, Sharing, State, Target, Visibility
from tests.adapter_store.catalog.test_catalog import MINE, draft, kept, publish
from tests.adapter_store.support import BASE


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """With generations 1 and 2."""
    catalog = Catalog(database)
    for content in ("one", "two"):
        await publish(catalog, content)
    return catalog


@pytest.fixture
def lifecycle(database: Database, catalog: Catalog) -> LifecycleCatalog:
    return LifecycleCatalog(database)


async def resolved(catalog: Catalog, version: str = "", tenant: str = "acme") -> Generation:
    return (await catalog.resolve(tenant, "acme", "tone", "demo", version)).generation


async def states(catalog: Catalog) -> list[tuple[int, State]]:
    found = await catalog.page("acme", 10, None, deleted=True)
    return [(each.generation, each.state) for each in found]


async def test_a_retired_generation_is_listed_and_fetched_but_not_used(
    catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    retired = await lifecycle.retire(MINE, 2, "leaks names", 5.0)
    assert (retired.state, retired.reason, retired.aliases) == (State.RETIRED, "leaks names", ())
    assert (await resolved(catalog)).generation == 1
    with pytest.raises(NotFound, match="generation 2 of adapter 'tone' is retired: 'leaks names'"):
        await resolved(catalog, "2")
    assert await catalog.files(retired.digest) == retired.files
    assert await states(catalog) == [(2, State.RETIRED), (1, State.PUBLISHED)]
    assert [each.generation for each in await catalog.page("acme", 10, None)] == [2, 1]
    assert [each.generation for each in await catalog.page("acme", 10, None, usable=True)] == [1]
    with pytest.raises(NotFound, match="adapter 'tone' has no published generation 2"):
        await lifecycle.retire(MINE, 2, "", 6.0)


async def test_nobody_but_the_owner_is_told_that_something_is_retired(
    database: Database, catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    await SharingCatalog(database).set(MINE, Sharing(Visibility.PUBLIC))
    await lifecycle.retire(MINE, 2, "secret", 5.0)
    with pytest.raises(NotFound) as refused:
        await resolved(catalog, "2", tenant="globex")
    assert str(refused.value) == "adapter 'acme/tone' does not exist"


async def test_an_alias_holds_its_generations_in_use(
    database: Database, catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    aliases = AliasCatalog(database)
    await aliases.set(MINE, "prod", Target(1, 2, 10), 2.0)
    for number in (1, 2):
        with pytest.raises(Precondition, match=f"generation {number} of adapter 'tone' is still named by prod"):
            await lifecycle.retire(MINE, number, "", 3.0)
    await aliases.remove(MINE, "prod", 2.0)
    await lifecycle.retire(MINE, 2, "", 3.0)
    with pytest.raises(Precondition, match="pointed at generation 2 before, which is retired or deleted"):
        await aliases.rollback(MINE, "prod", 4.0)
    with pytest.raises(NotFound, match="adapter 'tone' has no generation 2"):
        await aliases.set(MINE, "prod", Target(2), 4.0)


async def test_when_all_is_retired_the_name_stays_and_is_taken_up_again(
    catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    for number in (1, 2):
        await lifecycle.retire(MINE, number, "", 3.0)
    with pytest.raises(NotFound):
        await resolved(catalog)
    third, created = await publish(catalog, "two")
    assert (third.generation, created, third.aliases) == (3, True, (LATEST,))
    assert await lifecycle.restore(MINE, 1, 4.0) == (await resolved(catalog, "1"),)
    assert (await resolved(catalog)).generation == 3


async def test_what_is_deleted_is_restored_as_it_was(
    database: Database, catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    aliases = AliasCatalog(database)
    await aliases.set(MINE, "prod", Target(2), 2.0)
    await lifecycle.retire(MINE, 1, "old", 3.0)
    await catalog.delete(MINE, 0, 5.0, "by mistake")
    assert [each.reason for each in await catalog.page("acme", 10, None, deleted=True)] == ["by mistake"] * 2
    assert await states(catalog) == [(2, State.DELETED), (1, State.DELETED)]
    assert await catalog.page("acme", 10, None) == ()
    restored = await lifecycle.restore(MINE, 0, 6.0)
    assert [(each.generation, each.state) for each in restored] == [(1, State.RETIRED), (2, State.PUBLISHED)]
    assert (await resolved(catalog)).aliases == (LATEST,)
    await aliases.rollback(MINE, "prod", 7.0)
    assert (await resolved(catalog, "prod")).generation == 2
    for number in (0, 2, 9):
        with pytest.raises(NotFound, match="adapter 'tone' has no deleted"):
            await lifecycle.restore(MINE, number, 8.0)
    with pytest.raises(NotFound, match="adapter 'none' does not exist"):
        await lifecycle.restore(AdapterName("acme", "none"), 0, 8.0)


async def test_a_name_that_is_for_another_base_by_now_keeps_to_it(
    catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    await catalog.delete(MINE, 0, 5.0)
    await catalog.publish(replace(draft("three"), base=replace(BASE, name="other")), 6.0, kept)
    with pytest.raises(Precondition, match="adapter 'tone' would be for the bases 'demo' and 'other' at once"):
        await lifecycle.restore(MINE, 1, 7.0)
    assert await states(catalog) == [(3, State.PUBLISHED), (2, State.DELETED), (1, State.DELETED)]


async def test_what_is_gone_is_not_restored(database: Database, catalog: Catalog, lifecycle: LifecycleCatalog) -> None:
    await catalog.delete(MINE, 1, 5.0)
    assert await Retention(database).purge(5.1, 10.0) == 1
    with pytest.raises(NotFound, match="has no deleted or retired generation 1"):
        await lifecycle.restore(MINE, 1, 11.0)


async def test_a_restoration_and_a_purge_at_once_leave_all_or_nothing(
    database: Database, catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    retention = Retention(database)

    async def restore() -> int:
        try:
            return len(await lifecycle.restore(MINE, 1, 6.0))
        except NotFound:
            return 0

    for number in range(5):
        await publish(catalog, f"more {number}")
        await catalog.delete(MINE, 1, 5.0)
        restored, purged = await asyncio.gather(restore(), retention.purge(5.1, 6.0))
        assert restored + purged == 1
        if purged:
            break
        assert (await resolved(catalog, "1")).state is State.PUBLISHED


async def test_a_history_tells_every_change_with_its_reason(
    database: Database, catalog: Catalog, lifecycle: LifecycleCatalog
) -> None:
    history = HistoryCatalog(database)
    await history.refused(MINE, "adapter_config.json: r is 128", 2.0)
    await catalog.publish(replace(draft("three"), stages=((State.UPLOADED, 3.0), (State.VALIDATED, 3.5))), 4.0, kept)
    await lifecycle.retire(MINE, 3, "slow", 5.0)
    await lifecycle.restore(MINE, 3, 6.0)
    await catalog.delete(MINE, 3, 7.0, "unused")
    await Retention(database).purge(8.0, 9.0)
    assert [(each.generation, each.state, each.reason, each.at) for each in await history.of(MINE)] == [
        (3, State.GONE, "", 9.0),
        (3, State.DELETED, "unused", 7.0),
        (3, State.PUBLISHED, "", 6.0),
        (3, State.RETIRED, "slow", 5.0),
        (3, State.PUBLISHED, "", 4.0),
        (3, State.VALIDATED, "", 3.5),
        (3, State.UPLOADED, "", 3.0),
        (0, State.REFUSED, "adapter_config.json: r is 128", 2.0),
        (2, State.PUBLISHED, "", 1.0),
        (1, State.PUBLISHED, "", 1.0),
    ]
    await history.forget(before=5.5)
    assert [each.at for each in await history.of(MINE)] == [9.0, 7.0, 6.0]
    assert await history.of(AdapterName("globex", "tone")) == ()
