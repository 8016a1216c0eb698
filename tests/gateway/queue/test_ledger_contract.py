"""What any Ledger promises: Redis's, and the one that tests use in its place."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from chorus_gateway.queue.counters import AHEAD, Entry
from chorus_gateway.queue.sharing import Ledger, RedisLedger
from chorus_gateway.values import Band
from tests.gateway.queue.ledgers import MemoryLedgers

Make = Callable[[str], Ledger]
DEFAULT = Band.DEFAULT


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, redis: Redis) -> Make:
    """A ledger of the worker named."""
    memory = MemoryLedgers()
    return memory.worker if request.param == "memory" else lambda name: RedisLedger(redis, name)


async def test_workers_hear_of_one_another(make: Make) -> None:
    first, second = make("one"), make("two")
    assert (await first.share(DEFAULT, 1, None, 0.0, {"a": Entry(5.0)})).counters == {"a": 5.0}
    agreed = await second.share(DEFAULT, 1, None, 0.0, {"a": Entry(2.5), "b": Entry(1.25)})
    assert agreed.counters == {"a": 7.5, "b": 1.25}
    assert (await first.share(DEFAULT, 2, None, 0.0, {"a": Entry(0.0, 5.0)})).counters == {"a": 7.5}


async def test_the_same_batch_counts_once(make: Make) -> None:
    ledger = make("one")
    for number in (1, 1, 1, 2):
        agreed = await ledger.share(DEFAULT, number, None, 0.0, {"a": Entry(5.0)})
    assert agreed.counters == {"a": 10.0}


async def test_bands_are_apart(make: Make) -> None:
    ledger = make("one")
    await ledger.share(DEFAULT, 1, 3.0, 9.0, {"a": Entry(5.0)})
    agreed = await ledger.share(Band.FLEX, 1, None, 0.0, {"a": Entry(1.0)})
    assert (agreed.counters, agreed.lowest, agreed.served) == ({"a": 1.0}, None, 0.0)


async def test_who_waits_elsewhere_is_known_and_lifts_who_returns(make: Make) -> None:
    first, second = make("one"), make("two")
    await first.share(DEFAULT, 1, 400.0, 0.0, {"heavy": Entry(0.0, 400.0)})
    agreed = await second.share(DEFAULT, 1, None, 0.0, {"back": Entry(3.0, 10.0, returned=True)})
    assert agreed.lowest == 400.0
    assert agreed.counters == {"back": 400.0 - AHEAD}
    agreed = await second.share(DEFAULT, 2, 90.0, 0.0, {"another": Entry(0.0, 10.0, returned=True)})
    assert agreed.counters == {"another": 90.0 - AHEAD}, "the lowest is one's own"
    await first.share(DEFAULT, 2, None, 0.0, {})
    agreed = await second.share(DEFAULT, 3, None, 0.0, {})
    assert agreed.lowest is None


async def test_who_returns_and_waits_is_one_of_those_who_wait(make: Make) -> None:
    first, second = make("one"), make("two")
    await first.share(DEFAULT, 1, None, 0.0, {"a": Entry(0.0, 50.0, returned=True, waits=True)})
    agreed = await second.share(DEFAULT, 1, None, 0.0, {"back": Entry(0.0, 1.0, returned=True)})
    assert (agreed.lowest, agreed.counters) == (50.0, {"back": 50.0 - AHEAD})
    agreed = await first.share(DEFAULT, 2, None, 0.0, {})
    assert agreed.lowest is None, "it was dispatched at once"


async def test_where_nobody_waits_who_returns_is_lifted_to_who_was_served_last(make: Make) -> None:
    first, second = make("one"), make("two")
    await first.share(DEFAULT, 1, None, 700.0, {})
    agreed = await second.share(DEFAULT, 1, None, 20.0, {"back": Entry(0.0, 10.0, returned=True)})
    assert (agreed.counters, agreed.served) == ({"back": 700.0 - AHEAD}, 700.0)


async def test_a_loss_is_made_good_by_what_workers_know(make: Make) -> None:
    agreed = await make("one").share(DEFAULT, 9, None, 0.0, {"a": Entry(5.0, 1000.0)})
    assert agreed.counters == {"a": 1005.0}
    agreed = await make("two").share(DEFAULT, 4, None, 0.0, {"a": Entry(1.0, 1200.0)})
    assert agreed.counters == {"a": 1201.0}, "whoever knows more"


async def test_large_counters_keep_their_fractions(make: Make) -> None:
    ledger = make("one")
    await ledger.share(DEFAULT, 1, None, 0.0, {"a": Entry(2.0**40 + 0.125)})
    agreed = await ledger.share(DEFAULT, 2, None, 0.0, {"a": Entry(0.0625)})
    assert agreed.counters == {"a": 2.0**40 + 0.1875}


async def test_what_redis_keeps_is_bounded_and_ends(redis: Redis) -> None:
    ledger = RedisLedger(redis, "one")
    for start in range(0, 12_000, 1000):
        batch = {f"t{start + at}": Entry(float(start + at)) for at in range(1000)}
        await ledger.share(DEFAULT, start + 1, 11_500.0, 0.0, batch)
    assert await redis.zcard("chorus:fair:{default}:counters") < 2000
    for key in ("counters", "workers"):
        assert 0 < await redis.pttl(f"chorus:fair:{{default}}:{key}") <= 600_000


async def test_a_worker_that_is_gone_holds_nobody_down(redis: Redis) -> None:
    await redis.hset("chorus:fair:{default}:workers", "dead", "7 1000 5.0")
    agreed = await RedisLedger(redis, "one").share(DEFAULT, 1, 50.0, 0.0, {"back": Entry(0.0, 1.0, returned=True)})
    assert (agreed.lowest, agreed.counters) == (None, {"back": 50.0 - AHEAD})
    assert not await redis.hexists("chorus:fair:{default}:workers", "dead")
