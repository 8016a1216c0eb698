"""Large lines do not fill the memory."""

import asyncio

from chorus_gateway.batches.answering import LineRules
from chorus_gateway.batches.places import Places
from chorus_gateway.db import Database
from tests.gateway.support.batches import Ground, lines


async def test_places_are_bounded_by_bytes_too() -> None:
    places = Places(3, 100)
    await places.take(60)
    await places.take(40)
    third = asyncio.create_task(places.take(500))
    for size in (40, 60):
        await asyncio.sleep(0)
        assert not third.done()
        places.leave(size)
    await asyncio.wait_for(third, 10)


async def test_large_lines_run_one_after_another(database: Database) -> None:
    ground = Ground(database, rules=LineRules(concurrency=4, max_bytes=1000, most_bytes=150))
    batch = await ground.worked(await ground.create(lines(12)))
    assert batch.counts.completed == 12
    assert ground.asks.most == 1
