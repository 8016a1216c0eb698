"""Who works on a batch: one process, and when it is killed at any moment, another."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import update

from chorus_gateway.batches.leases import Lease, LeaseLost
from chorus_gateway.batches.results import Result
from chorus_gateway.batches.values import Status
from chorus_gateway.db import Database, batches
from chorus_gateway.errors import Unavailable
from tests.gateway.support.batches import TENANT, FakeAsks, Ground, bad, custom_ids, good, lines


class Killed(BaseException):
    """What a process does not get to say when it is killed."""


async def lapse(database: Database) -> None:
    """Of all batches that are not over."""
    async with database.session() as session:
        held = batches.c.lease_until.is_not(None)
        await session.execute(update(batches).where(held).values(lease_until=0.0))


async def claimed(ground: Ground) -> Lease:
    (lease,) = await ground.stores().leases.claim(8)
    return lease


async def test_a_batch_has_one_owner(any_database: Database) -> None:
    ground = Ground(any_database)
    await ground.create(lines(1))
    claims = await asyncio.gather(*(ground.stores().leases.claim(8) for _ in range(5)))
    assert sum(map(len, claims)) == 1
    assert await ground.stores().leases.claim(8) == []


async def test_an_older_owner_is_not_heard(any_database: Database) -> None:
    ground, late = Ground(any_database), Result(1, True, b"late\n")
    batch = await ground.create(lines(1))
    first = await claimed(ground)
    await lapse(any_database)
    second = await claimed(ground)
    stores = ground.stores()
    with pytest.raises(LeaseLost):
        await stores.results.add(first, [late], until=1e12)
    with pytest.raises(LeaseLost):
        await stores.leases.renew(first)
    assert await stores.results.answered(batch.id) == set(), "the line was taken back with the rest"
    await stores.leases.release(first)
    assert await ground.stores().leases.claim(8) == [], "it cannot give away what it has no more"
    await stores.results.add(second, [late], until=1e12)
    await stores.results.add(second, [late], until=1e12)
    assert (await ground.now(batch)).counts.completed == 1, "who does not know whether it arrived may try again"


async def test_tenants_with_the_fewest_batches_in_work_go_first(any_database: Database) -> None:
    ground = Ground(any_database)
    mine = [await ground.create(lines(1)) for _ in range(3)]
    other = await ground.create(lines(1))
    await ground.set(other, tenant="other")
    leases = await ground.stores().leases.claim(2)
    assert [lease.batch_id for lease in leases] == [mine[0].id, other.id]


@pytest.mark.parametrize("method", ["renew", "add", "answered", "move", "publish", "tidy_up", "read"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_process_is_killed_at_each_of_its_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch, method: str, after: bool
) -> None:
    """Before and after it, again and again, with another one going on each time."""
    ground = Ground(database, FakeAsks(lambda body, tries: bad(400) if body["prompt"] == "p2" else good(body)))
    batch = await ground.create(lines(9))
    kills = 0
    for start in range(1, 100):
        await lapse(database)
        stores = ground.stores()
        leases = await stores.leases.claim(8)
        if not leases:
            break
        run = ground.run(leases[0], stores)
        places = {"renew": stores.leases, "add": stores.results, "read": stores.results, "answered": stores.results}
        deadly(monkeypatch, places.get(method, run._publishing), method, kill_at=start, after=after)
        try:
            await run.to_its_end()
        except* Killed:
            kills += 1
    assert kills, "or nothing was tested"
    final = await ground.now(batch)
    assert final.status is Status.COMPLETED
    assert Counter(await ground.answered(batch)) == Counter(custom_ids(9))
    assert (final.counts.completed, final.counts.failed) == (8, 1)
    seen = await ground.files.page(TENANT, purpose="batch_output", after=None, limit=9, newest=True)
    assert len(seen.files) == 2, "what was written in vain is not seen"


async def test_the_database_is_away_for_a_moment_at_each_step(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was asked is asked again, and nobody else needs to go on."""
    for module in ("work", "recorder", "answering"):
        monkeypatch.setattr(f"chorus_gateway.batches.{module}.RETRY", 0.001)
    ground = Ground(database)
    batch = await ground.create(lines(9))
    stores, away = ground.stores(), Counter[str]()
    for place, method in ((stores.results, "add"), (stores.files, "chunk"), (stores.leases, "renew")):
        absent(monkeypatch, place, method, away)
    process = ground.process(stores=stores)
    final = await ground.over(batch)
    process.cancel()
    await asyncio.gather(process, return_exceptions=True)
    assert away == {"add": 2, "chunk": 2, "renew": 2}
    assert await ground.answered(final) == custom_ids(9)
    assert set(ground.asks.asked.values()) == {1}


def absent(monkeypatch: pytest.MonkeyPatch, place: object, method: str, away: Counter[str]) -> None:
    """The database is, for the first two calls."""
    real = getattr(place, method)

    async def call(*args: object, **options: object) -> object:
        if away[method] < 2:
            away[method] += 1
            raise Unavailable("The gateway's database does not answer; try again in a moment.")
        return await real(*args, **options)

    monkeypatch.setattr(place, method, call)


def deadly(monkeypatch: pytest.MonkeyPatch, place: object, method: str, *, kill_at: int, after: bool) -> None:
    """The `kill_at`th call is the process's last."""
    calls, real = 0, getattr(place, method)

    async def call(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == kill_at and not after:
            raise Killed
        answer = await real(*args, **options)
        if calls == kill_at:
            raise Killed
        return answer

    async def pieces(*args: object, **options: object) -> object:
        nonlocal calls
        async for piece in real(*args, **options):
            calls += 1
            if calls == kill_at and not after:
                raise Killed
            yield piece
            if calls == kill_at:
                raise Killed

    monkeypatch.setattr(place, method, pieces if method == "read" else call)
