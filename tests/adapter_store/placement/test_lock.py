"""The placer's lock, on a real Redis."""

from redis.asyncio import Redis

from chorus_adapter_store.placement.keys import LOCK
from chorus_adapter_store.placement.lock import HOLD_SECONDS, Lock


async def test_one_holds_it_until_it_is_released(redis: Redis) -> None:
    first, second = Lock(redis, "first"), Lock(redis, "second")
    assert await first.acquire()
    assert not await second.acquire()
    assert (await first.held(), await second.held()) == (True, False)
    assert await redis.pttl(LOCK) <= HOLD_SECONDS * 1000
    await first.release()
    assert not await first.held()
    assert await second.acquire()


async def test_it_lapses_unless_it_is_renewed(redis: Redis) -> None:
    first, second = Lock(redis, "first"), Lock(redis, "second")
    assert await first.acquire()
    await redis.pexpire(LOCK, 20)
    assert await first.renew()
    assert await redis.pttl(LOCK) > 1000
    await redis.delete(LOCK)  # as if it had lapsed
    assert await second.acquire()
    assert not await first.renew()
    assert (await first.held(), first.certain) == (False, False)


async def test_only_its_holder_releases_it(redis: Redis) -> None:
    first, second = Lock(redis, "first"), Lock(redis, "second")
    assert await first.acquire()
    await redis.delete(LOCK)
    assert await second.acquire()
    await first.release()
    assert await second.held()


async def test_the_same_store_begins_anew_after_it_lost_it(redis: Redis) -> None:
    lock = Lock(redis, "store")
    assert await lock.acquire()
    await redis.flushall()
    assert not await lock.renew()
    assert await lock.acquire()
    assert await lock.held()


async def test_without_redis_its_own_clock_says_when_it_is_no_longer_certain(redis: Redis) -> None:
    now = [100.0]
    lock = Lock(redis, "store", lambda: now[0])
    assert await lock.acquire()
    now[0] += HOLD_SECONDS - 0.1
    assert (lock.certain, await lock.held()) == (True, True)
    now[0] += 0.2
    assert (lock.certain, await lock.held()) == (False, False)
