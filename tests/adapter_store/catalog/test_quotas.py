"""What a tenant may have, also when it asks for much at once."""

import asyncio
from dataclasses import replace

import pytest

from chorus_adapter_store.catalog import Catalog, Database, LifecycleCatalog, Retention
from chorus_adapter_store.errors import QuotaExceeded
from chorus_adapter_store.values import AdapterName, Generation, Quota
from tests.adapter_store.catalog.test_catalog import MINE, draft, kept

EACH = len("config") + 3  # bytes of a draft whose content has three letters


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


async def publish(catalog: Catalog, content: str, quota: Quota, name: str = "tone") -> Generation:
    wanted = replace(draft(content, AdapterName("acme", name)), quota=quota)
    return (await catalog.publish(wanted, 1.0, kept))[0]


async def test_a_rank_over_the_quota_is_refused(catalog: Catalog) -> None:
    await publish(catalog, "one", Quota(rank=4))
    with pytest.raises(QuotaExceeded) as refused:
        await publish(catalog, "two", Quota(rank=3))
    assert str(refused.value) == (
        "rank: the adapter has rank 4, more than the 3 that tenant 'acme' may use; train it with a smaller r"
    )
    assert len(await catalog.page("acme", 10, None)) == 1


async def test_names_are_counted_not_generations(catalog: Catalog, database: Database) -> None:
    quota = Quota(adapters=2)
    for content, name in (("one", "a"), ("two", "a"), ("one", "b")):
        await publish(catalog, content, quota, name)
    with pytest.raises(QuotaExceeded, match="adapters: tenant 'acme' would have 3 adapters, more than the 2 allowed"):
        await publish(catalog, "one", quota, "c")
    await publish(catalog, "new", Quota(adapters=1), "b")  # a lower quota takes nothing away
    await catalog.publish(replace(draft("one", AdapterName("globex", "c")), quota=quota), 1.0, kept)
    await catalog.delete(AdapterName("acme", "a"), 0, 2.0)
    await publish(catalog, "one", quota, "c")
    lifecycle = LifecycleCatalog(database)
    with pytest.raises(QuotaExceeded, match="would have 3 adapters, more than the 2 allowed"):
        await lifecycle.restore(AdapterName("acme", "a"), 0, 3.0, quota)
    await catalog.delete(AdapterName("acme", "c"), 0, 2.0)
    assert len(await lifecycle.restore(AdapterName("acme", "a"), 0, 3.0, quota)) == 2


async def test_bytes_are_counted_once_and_until_they_are_gone(catalog: Catalog, database: Database) -> None:
    quota = Quota(bytes=2 * EACH)
    await publish(catalog, "one", quota)
    await publish(catalog, "two", quota)
    for content, name in (("two", "tone"), ("one", "tone"), ("one", "copy")):  # the same bytes cost nothing twice
        await publish(catalog, content, quota, name)
    sentence = (
        f"bytes: the adapter's {EACH} bytes and the {2 * EACH} that tenant 'acme' has are more than the {2 * EACH}"
    )
    with pytest.raises(QuotaExceeded, match=sentence):
        await publish(catalog, "new", quota)
    await catalog.delete(MINE, 2, 2.0)
    with pytest.raises(QuotaExceeded, match=sentence):
        await publish(catalog, "new", quota)
    await Retention(database).purge(3.0, 3.0)
    await publish(catalog, "new", quota)


async def test_uploads_at_once_do_not_pass_a_quota_together(catalog: Catalog) -> None:
    async def attempt(number: int) -> bool:
        try:
            await publish(catalog, f"{number:03}", Quota(adapters=3, bytes=5 * EACH), f"name-{number}")
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*map(attempt, range(8)))) == 3
    assert await catalog.count() == 3
