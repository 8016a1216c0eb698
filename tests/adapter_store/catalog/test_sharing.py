"""Who may use an adapter, and what everybody else can see of it: nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from chorus_adapter_store.catalog import Catalog, Database, SharingCatalog
from chorus_adapter_store.errors import NotFound
from chorus_adapter_store.values import AdapterName, Generation, Sharing, Visibility
from tests.adapter_store.catalog.test_catalog import MINE, publish

PRIVATE, PUBLIC = Sharing(), Sharing(Visibility.PUBLIC)


def shared(*tenants: str) -> Sharing:
    return Sharing(Visibility.SHARED, tenants)


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    catalog = Catalog(database)
    await publish(catalog, "one")
    await publish(catalog, "two")
    return catalog


@pytest.fixture
def sharing(database: Database) -> SharingCatalog:
    return SharingCatalog(database)


async def seen(catalog: Catalog, tenant: str, version: str = "") -> Generation | str:
    """What `tenant` gets for the adapter, or in which words it is refused."""
    try:
        return (await catalog.resolve(tenant, "acme", "tone", "demo", version)).generation
    except NotFound as error:
        return str(error)


NOTHING = "adapter 'acme/tone' does not exist"


async def test_what_is_published_is_private(catalog: Catalog) -> None:
    mine = (await catalog.resolve("acme", "acme", "tone", "demo", "")).generation
    assert mine.sharing == PRIVATE
    assert await seen(catalog, "globex") == NOTHING


@pytest.mark.parametrize(
    ("sharing_", "users"),
    [
        (PRIVATE, {"acme"}),
        (shared("globex"), {"acme", "globex"}),
        (shared("globex", "initech"), {"acme", "globex", "initech"}),
        (PUBLIC, {"acme", "globex", "initech", "umbrella"}),
    ],
)
async def test_those_who_may_use_it_and_no_others(
    catalog: Catalog, sharing: SharingCatalog, sharing_: Sharing, users: set[str]
) -> None:
    await sharing.set(MINE, PUBLIC)  # whatever was before is replaced
    newest = await sharing.set(MINE, sharing_)
    assert (newest.generation, newest.sharing) == (2, sharing_)
    for tenant in ("acme", "globex", "initech", "umbrella"):
        for version in ("", "1", "2", "latest"):
            found = await seen(catalog, tenant, version)
            assert isinstance(found, Generation) == (tenant in users), (tenant, version)
            if isinstance(found, Generation):
                assert found.sharing == (sharing_ if tenant == "acme" else Sharing(sharing_.visibility))
            else:
                assert found == NOTHING
        listed = await catalog.page(tenant, 10, None, usable=True)
        assert [each.generation for each in listed] == ([2, 1] if tenant in users else [])


async def test_only_the_owner_is_told_what_else_there_is(catalog: Catalog, sharing: SharingCatalog) -> None:
    await sharing.set(MINE, PUBLIC)
    assert await seen(catalog, "globex", "9") == NOTHING
    assert "it has 2, latest, 1" in str(await seen(catalog, "acme", "9"))
    with pytest.raises(NotFound, match=NOTHING):
        await catalog.resolve("globex", "acme", "tone", "other", "")


async def test_a_bare_name_is_never_anothers(catalog: Catalog, sharing: SharingCatalog) -> None:
    await sharing.set(MINE, PUBLIC)
    with pytest.raises(NotFound, match="adapter 'tone' does not exist"):
        await catalog.resolve("globex", "globex", "tone", "demo", "")


async def test_a_list_of_what_is_usable_has_ones_own_too_in_pages(catalog: Catalog, sharing: SharingCatalog) -> None:
    await publish(catalog, "three", AdapterName("globex", "own"))
    await publish(catalog, "three", AdapterName("initech", "hidden"))
    await sharing.set(MINE, shared("globex"))
    found = await catalog.page("globex", 10, None, usable=True)
    assert [(each.adapter.tenant, each.generation) for each in found] == [("acme", 2), ("acme", 1), ("globex", 1)]
    assert [each.adapter.tenant for each in await catalog.page("globex", 10, None)] == ["globex"]


async def test_a_name_that_is_published_anew_is_private_again(catalog: Catalog, sharing: SharingCatalog) -> None:
    await sharing.set(MINE, shared("globex"))
    await catalog.delete(MINE, 2, 5.0)
    await publish(catalog, "three")
    assert isinstance(await seen(catalog, "globex"), Generation)
    await catalog.delete(MINE, 0, 5.0)
    assert await seen(catalog, "globex") == NOTHING
    await publish(catalog, "four")
    assert await seen(catalog, "globex") == NOTHING
    with pytest.raises(NotFound, match="adapter 'none' does not exist"):
        await sharing.set(AdapterName("acme", "none"), PUBLIC)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_stranger_causes_the_same_work_whether_there_is_an_adapter_or_not(
    catalog: Catalog, sharing: SharingCatalog
) -> None:
    await sharing.set(MINE, shared("globex"))
    work = []
    for name in ("tone", "none"):
        for version in ("", "1", "9"):
            with counted_statements() as statements, pytest.raises(NotFound):
                await catalog.resolve("initech", "acme", name, "demo", version)
            work.append((version, tuple(statements)))
    assert len(work[0][1]) > 0
    assert work[:3] == work[3:]
