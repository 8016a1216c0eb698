"""What is removed, and what never is."""

import asyncio

from chorus_adapter_store.catalog import Catalog, Database, Retention
from tests.adapter_store.catalog.test_catalog import MINE, draft, publish


class Removed:
    def __init__(self) -> None:
        self.digests: list[str] = []

    async def remove(self, digest: str) -> None:
        self.digests.append(digest)


async def test_a_deleted_generation_goes_after_its_grace_and_its_blobs_after_it(database: Database) -> None:
    catalog, retention, removed = Catalog(database), Retention(database), Removed()
    one, _ = await publish(catalog, "one")
    two, _ = await publish(catalog, "two")
    blobs = frozenset(file.sha256 for generation in (one, two) for file in generation.files)
    await catalog.delete(MINE, 1, 100.0)
    assert await retention.purge(100.0, 700.0) == 0
    assert await retention.collect(blobs, removed.remove) == 0
    assert await retention.purge(100.1, 700.0) == 1
    assert await retention.collect(blobs | {"e" * 64}, removed.remove) == 2
    assert sorted(removed.digests) == sorted(["e" * 64, one.weights.sha256])


async def test_a_blob_is_never_collected_between_its_keeping_and_its_naming(database: Database) -> None:
    catalog, retention, removed = Catalog(database), Retention(database), Removed()
    weights = draft("new").weights.sha256
    in_place, go_on = asyncio.Event(), asyncio.Event()

    async def keep() -> None:
        in_place.set()
        await go_on.wait()

    publishing = asyncio.create_task(catalog.publish(draft("new"), 1.0, keep))
    await in_place.wait()
    collecting = asyncio.create_task(retention.collect(frozenset({weights}), removed.remove))
    done, _ = await asyncio.wait([collecting], timeout=0.2)
    assert not done
    go_on.set()
    await publishing
    assert await collecting == 0
    assert removed.digests == []
