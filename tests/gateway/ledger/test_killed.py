"""`kill -9` of real gateway processes in the middle of streams: each request that was admitted has one row, and the row
has its engine's numbers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_gateway.prices.cost import cost
from chorus_gateway.values import Price, Usage
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.killable import Ground, KillableGateway, until
from tests.gateway.support.tokenizers import bundle, ids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
PLACES = 6  # at the engine
STREAMS = 9  # so that some wait
PRICE = Price(input=200_000, cached=20_000, output=600_000)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    reply = Reply(ids("hello ") * 30, pause=0.03, cached=1, hang=True)
    engine = await FakeEngine(bundle(), replier=lambda submit: reply, max_num_seqs=PLACES).start()
    ground = await Ground.made(tmp_path, [engine])
    await ground.price(PRICE)
    yield ground
    await ground.close()
    await engine.stop()


async def running(ground: Ground, gateway: KillableGateway) -> None:
    """All places are taken, the rest waits, and each has begun."""
    engine = ground.engines[0]

    async def begun() -> bool:
        waiting = await gateway.gauge("num_requests_waiting") == STREAMS - PLACES
        produced = [run.produced for stream in engine._streams for run in stream.running.values()]
        return waiting and len(produced) == PLACES and min(produced) > 1

    await until(begun)


async def has_rows(ground: Ground, count: int) -> None:
    async def there() -> bool:
        return len(await ground.rows()) >= count and not ground.engines[0].usage.unacknowledged

    await until(there)
    assert len(await ground.rows()) == count


async def check(ground: Ground) -> int:
    """Rows of requests that reached the engine, each with its numbers."""
    rows = await ground.rows()
    for (job, _), usage in ground.engines[0].usage.all.items():
        row = rows.pop(job.rpartition("-")[0])
        assert (row["prompt"], row["completion"], row["cached"], row["computed"]) == (
            *(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
            usage.computed_tokens,
        )
        assert row["cost"] == cost(PRICE, Usage(row["prompt"], row["completion"], row["cached"])) > 0
        assert (row["tenant"], row["base"], row["outcome"]) == ("acme", "chorus-demo", "orphaned")
    assert all(row["completion"] == row["computed"] == row["cost"] == 0 for row in rows.values())
    return len(ground.engines[0].usage.all)


async def test_workers_are_killed_one_after_another_in_the_middle_of_streams(ground: Ground) -> None:
    first, second = await ground.start(), await ground.start()
    ground.ask(first, STREAMS)
    await running(ground, first)
    first.kill()
    await has_rows(ground, STREAMS)  # by the second, which lives
    assert await check(ground) == PLACES

    ground.ask(second, STREAMS)
    await running(ground, second)
    second.kill()
    third = await ground.start(CHORUS_SHUTDOWN_GRACE="0.5")  # that starts after the kill
    await has_rows(ground, 2 * STREAMS)
    assert await check(ground) == 2 * PLACES
    assert len(ground.journals()) == 1  # its own
    assert await third.gauge("usage_adopted_total") == STREAMS

    ground.ask(third, STREAMS)
    await running(ground, third)
    third.process.terminate()  # what still runs ends with an error after its grace
    assert await third.process.wait() == 0
    rows = await ground.rows()
    assert len(rows) == 3 * STREAMS
    computed = sum(usage.computed_tokens for usage in ground.engines[0].usage.all.values())
    assert sum(row["computed"] for row in rows.values()) == computed
    assert not ground.journals(), "nothing is left for an heir"
