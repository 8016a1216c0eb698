"""Batches that take a day keep no other tenant's waiting."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from chorus_gateway.batches.answering import LineRules
from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.leases import Leases
from chorus_gateway.batches.values import Batch, Status
from chorus_gateway.db import Database
from tests.gateway.support.batches import FakeAsks, Ground, bad, custom_ids, good, line, lines, reached


async def test_long_batches_make_way_for_other_tenants(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold every place and cannot go on. Two others' are answered meanwhile, and nothing is asked twice of what
    was answered."""
    for name, value in {"work.MOST": 2, "work.TURN": 0.0, "work.LOOK": 0.02}.items():
        monkeypatch.setattr(f"chorus_gateway.batches.{name}", value)
    for name in ("FIRST", "LONGEST_UNTOLD"):
        monkeypatch.setattr(f"chorus_gateway.batches.patience.{name}", 0.01)
    goes_on = asyncio.Event()

    def reply(body: Mapping[str, Any], tries: int) -> Answered:
        stuck = body["prompt"] in LATER and not goes_on.is_set()
        return bad(503) if stuck else good(body)

    ground = Ground(database, FakeAsks(reply), LineRules(concurrency=3, max_bytes=1000))
    long = [await ground.create(lines(12)) for _ in range(3)]
    process = ground.process()
    await reached(lambda: answered(ground, long, [5, 5, 0]))
    short = [await ground.create(one(tenant), tenant) for tenant in ("b", "c")]
    for batch in short:
        assert (await ground.over(batch)).status is Status.COMPLETED
    assert [(await ground.now(batch)).status for batch in long[:2]] == [Status.IN_PROGRESS] * 2
    goes_on.set()
    for batch in long:
        assert (await ground.over(batch)).counts.completed == 12
        assert await ground.answered(batch) == custom_ids(12)
    assert {ground.asks.asked[f"p{number}"] for number in range(1, 6)} == {3}, "once for each of the three"
    process.cancel()
    await asyncio.gather(process, return_exceptions=True)


async def test_a_batch_of_which_nothing_is_left_ends_where_it_is(database: Database) -> None:
    """Its turn may be over before its first line is asked: that one is."""
    ground = Ground(database)
    for count, ends in ((1, True), (2, False)):
        batch = await ground.create(lines(count))
        stores = ground.stores()
        (lease,) = await stores.leases.claim(1)
        run = ground.run(lease, stores)
        run.leave()
        assert await run.to_its_end() is ends
        assert (await ground.now(batch)).counts.completed == 1
        assert (await ground.now(batch)).status is (Status.COMPLETED if ends else Status.IN_PROGRESS)


@pytest.mark.parametrize(
    ("held", "waiting", "leaves"),
    [
        ("aaaa", "", None),
        ("aaaa", "a", None),
        ("aaaa", "b", "a"),
        ("baaa", "c", "a"),
        ("aabb", "ab", None),
        ("aaab", "b", "a"),
        ("aab", "b", None),
        ("ab", "c", "a"),
        ("a", "b", "a"),
    ],
)
async def test_who_makes_way(database: Database, held: str, waiting: str, leaves: str | None) -> None:
    """Whoever has the most, for whoever has none or fewer by two."""
    ground = Ground(database)
    leases = ground.stores().leases
    mine = await claimed(ground, leases, held)
    for tenant in waiting:
        await ground.create(lines(1), tenant)
    assert await leases.crowding([batch.id for batch in mine]) == next(
        (batch.id for batch in mine if batch.tenant == leaves), None
    )


async def test_whoever_made_way_goes_behind_those_that_wait(any_database: Database) -> None:
    """Though his is the oldest, and however many the others have."""
    ground = Ground(any_database)
    leases = ground.stores().leases
    turns = {batch.id: batch.tenant for batch in [await ground.create(lines(1), tenant) for tenant in "aabbc"]}
    order = ""
    for _ in range(7):
        (lease,) = await leases.claim(1)
        order += turns[lease.batch_id]
        await leases.release(lease)
    assert order == "abcabca"


LATER = frozenset(f"p{number}" for number in range(6, 13))


def one(tenant: str) -> bytes:
    return json.dumps(line(1, body={"model": "m", "prompt": tenant})).encode()


async def answered(ground: Ground, batches: Sequence[Batch], counts: Sequence[int]) -> bool:
    return [(await ground.now(batch)).counts.completed for batch in batches] == counts


async def claimed(ground: Ground, leases: Leases, tenants: str) -> list[Batch]:
    made = [await ground.create(lines(1), tenant) for tenant in tenants]
    assert len(await leases.claim(len(made))) == len(made)
    return made
