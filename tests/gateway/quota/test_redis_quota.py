"""What only the shared quota has: leases that lapse, several gateways, and a Redis that may lose everything."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.errors import QuotaExceeded, RateLimited, Unavailable
from chorus_gateway.quota import RedisQuota
from chorus_gateway.quota.base import Outstanding, Reservation, Subject, Used, Wanted
from chorus_gateway.values import Period
from tests.gateway.quota.conftest import (
    START,
    Books,
    Clock,
    adapter,
    budget,
    in_flight,
    key,
    shared,
    tell_time,
    tenant,
    wanted,
)
from tests.gateway.support.redis_server import RedisServer, redis_client

WHO = tenant(requests_per_minute=100, tokens_per_minute=1000, concurrent_requests=2)
METERED = budget(1000, tokens_per_day=100)


async def test_a_lease_of_a_dead_gateway_lapses(redis: Redis) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        dead, alive = await shared(stack, redis, clock=clock), await shared(stack, redis, clock=clock)
        await tell_time(redis, clock)
        await dead.reserve(wanted(WHO))
        await dead.reserve(wanted(WHO))
        clock.now += 29.9
        await tell_time(redis, clock)
        with pytest.raises(RateLimited):
            await alive.reserve(wanted(WHO))
        clock.now += 0.1
        await tell_time(redis, clock)
        await alive.reserve(wanted(WHO))
        assert await in_flight(alive) == 1


async def test_what_a_dead_gateway_held_counts_until_the_ledger_was_asked(redis: Redis, books: Books) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        dead, alive = await shared(stack, redis, books, clock=clock), await shared(stack, redis, books, clock=clock)
        await tell_time(redis, clock)
        await dead.reserve(wanted(METERED, tokens=60, cost=600))
        clock.now += 30
        await tell_time(redis, clock)
        with pytest.raises(QuotaExceeded, match=r"0\.0000006 used"):  # nobody knows yet what it came to
            await alive.reserve(wanted(METERED, tokens=50, cost=500))
        books.rows = {("tenant:acme", Period.DAY): Used(20, 1), ("tenant:acme", Period.MONTH): Used(1, 200)}
        clock.now += 1
        await tell_time(redis, clock)
        reservation = await granted_soon(alive, wanted(METERED, tokens=80, cost=800))
        await alive.settle(reservation, Used(80, 800))
        with pytest.raises(QuotaExceeded, match=r"0\.000001 used"):
            await alive.reserve(wanted(METERED, cost=1))


async def test_what_a_dead_gateways_requests_came_to_counts_whenever_the_ledger_learns_it(
    redis: Redis, books: Books
) -> None:
    clock = Clock(START - 3600)
    async with AsyncExitStack() as stack:
        dead, alive = await shared(stack, redis, books, clock=clock), await shared(stack, redis, books, clock=clock)
        await tell_time(redis, clock)
        await dead.reserve(wanted(METERED, cost=600))
        clock.now += 30
        await tell_time(redis, clock)
        assert await in_flight(alive) == 0
        clock.now += 1
        await tell_time(redis, clock)
        await alive.settle(await granted_soon(alive, wanted(METERED, cost=1000)), Used())  # it knows of nothing yet
        books.rows[("tenant:acme", Period.MONTH)] = Used(1, 600)
        alive.doubt("acme", "k1", "acme/sql")
        keeping = asyncio.create_task(alive.keep_leases())
        with pytest.raises(QuotaExceeded, match=r"0\.0000006 used"):
            await asyncio.wait_for(ask_for_ever(redis, clock, alive, wanted(METERED, cost=500)), 60)
        keeping.cancel()


async def test_what_was_in_flight_without_any_limit_counts_for_a_new_one(redis: Redis, books: Books) -> None:
    clock = Clock(START - 3600)
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis, books, clock=clock)
        await tell_time(redis, clock)
        flying = await quota.reserve(wanted(tenant(), cost=600))
        await quota.settle(await quota.reserve(wanted(METERED)), Used())  # the ledger was asked
        await quota.settle(flying, Used(1, 600))
        books.rows[("tenant:acme", Period.MONTH)] = Used(1, 600)
        clock.now += 15 * 60
        with pytest.raises(QuotaExceeded, match=r"0\.0000006 used"):
            await asyncio.wait_for(ask_for_ever(redis, clock, quota, wanted(METERED, cost=500)), 60)
        books.asked.clear()
        for _ in range(3):
            clock.now += 15 * 60
            await tell_time(redis, clock)
            await quota.settle(await quota.reserve(wanted(METERED)), Used())
        assert not books.asked  # once is enough


async def ask_for_ever(redis: Redis, clock: Clock, quota: RedisQuota, asked: Wanted) -> None:
    while True:
        clock.now += 1
        await tell_time(redis, clock)
        await quota.settle(await quota.reserve(asked), Used())
        await asyncio.sleep(0.02)


async def test_a_days_tokens_of_a_dead_gateway_count_in_full(redis: Redis) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        dead, alive = await shared(stack, redis, clock=clock), await shared(stack, redis, clock=clock)
        await tell_time(redis, clock)
        await dead.reserve(wanted(tenant(tokens_per_day=100), tokens=60))
        clock.now += 30
        await tell_time(redis, clock)
        with pytest.raises(QuotaExceeded, match="60 used"):
            await alive.reserve(wanted(tenant(tokens_per_day=100), tokens=41))


async def granted_soon(quota: RedisQuota, what: Wanted) -> Reservation:
    """Once a count in the background has ended."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await quota.reserve(what)
            except QuotaExceeded:
                await asyncio.sleep(0.01)


async def test_leases_of_running_requests_are_kept(redis: Redis) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis, clock=clock)
        await tell_time(redis, clock)
        reservation = await quota.reserve(wanted(WHO))
        for _ in range(4):
            clock.now += 20
            await tell_time(redis, clock)
            await quota.renew()
        assert await in_flight(quota) == 1
        await quota.settle(reservation, Used(1))
        await quota.renew()
        assert await in_flight(quota) == 0


async def test_keys_share_a_hash_tag_and_expire(redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        await (await shared(stack, redis)).reserve(wanted(WHO))
        keys = sorted([key async for key in redis.scan_iter()])
        assert keys == ["chorus:quota:{acme}:accounts", "chorus:quota:{acme}:leases", "chorus:quota:{acme}:records"]
        for key in keys:
            assert 0 < await redis.pttl(key) <= 86_400_000


async def test_unbounded_requests_leave_nothing_behind(redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis)
        await quota.settle(await quota.reserve(wanted(tenant())), Used(1))
        assert [key async for key in redis.scan_iter()] == []


async def test_an_emptied_redis_is_counted_anew_by_the_ledger(redis: Redis, books: Books) -> None:
    async with AsyncExitStack() as stack:
        first, second = await shared(stack, redis, books), await shared(stack, redis, books)
        await first.settle(await first.reserve(wanted(METERED, tokens=30, cost=300)), Used(30, 300))
        running = await second.reserve(wanted(METERED, tokens=40, cost=400))
        books.rows = {("tenant:acme", Period.DAY): Used(30, 300), ("tenant:acme", Period.MONTH): Used(30, 300)}
        await redis.flushall()
        await second.renew()  # as keep_leases does once it finds another epoch
        with pytest.raises(RateLimited, match="used 30, reserved by requests in flight 40"):
            await first.reserve(wanted(METERED, tokens=31))
        await first.reserve(wanted(METERED, tokens=30))
        assert await in_flight(first) == 2
        await second.settle(running, Used(10, 100))
        with pytest.raises(RateLimited, match="used 40, reserved by requests in flight 30"):
            await first.reserve(wanted(METERED, tokens=31))


async def test_a_request_that_ends_before_it_is_told_again_is_in_the_ledger(redis: Redis, books: Books) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis, books)
        running = await quota.reserve(wanted(METERED, tokens=40, cost=400))
        await redis.flushall()
        await quota.settle(running, Used(40, 400))
        books.rows = {("tenant:acme", Period.DAY): Used(40, 400), ("tenant:acme", Period.MONTH): Used(40, 400)}
        with pytest.raises(QuotaExceeded, match="40 used"):
            await quota.reserve(wanted(METERED, tokens=61))


async def test_an_epoch_that_changed_unseen_is_counted_anew(redis: Redis, books: Books) -> None:
    """A restart from an old file: the counters are there and wrong."""
    async with AsyncExitStack() as stack:
        first, second = await shared(stack, redis, books), await shared(stack, redis, books)
        await first.settle(await first.reserve(wanted(METERED, tokens=10)), Used(10))
        await redis.set("chorus:quota:epoch", "another-run before 1")
        books.rows = {("tenant:acme", Period.DAY): Used(90)}
        with pytest.raises(QuotaExceeded, match="90 used"):
            await second.reserve(wanted(METERED, tokens=20))
        with pytest.raises(QuotaExceeded, match="90 used"):  # whoever knows the old epoch learns the new one
            await first.reserve(wanted(METERED, tokens=20))


async def test_nothing_is_granted_while_the_ledger_is_away(redis: Redis, books: Books) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis, books)
        books.error = Unavailable("The database is away.")
        for _ in range(2):
            with pytest.raises(Unavailable, match="database is away"):
                await quota.reserve(wanted(METERED))
        books.error = RuntimeError("a driver's own")
        with pytest.raises(Unavailable, match="cannot be told now"):
            await quota.reserve(wanted(METERED))
        books.error = None
        await quota.reserve(wanted(METERED))


async def test_many_requests_ask_the_ledger_once(redis: Redis, books: Books) -> None:
    async with AsyncExitStack() as stack:
        gateways = [await shared(stack, redis, books) for _ in range(3)]
        await asyncio.gather(*(gateways[at % 3].reserve(wanted(tenant(tokens_per_day=100))) for at in range(60)))
        assert len(books.asked) <= 3  # once a gateway at most


class SlowBooks(Books):
    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        await asyncio.sleep(0.2)
        return await super().spent(tenant, subject, period)


async def test_one_of_many_gateways_asks_the_ledger(redis: Redis) -> None:
    books = SlowBooks()
    async with AsyncExitStack() as stack:
        gateways = [await shared(stack, redis, books) for _ in range(5)]
        await asyncio.gather(*(gateway.reserve(wanted(budget(1000))) for gateway in gateways))
        assert len(books.asked) == 1


async def test_a_settlement_that_redis_missed_follows(own_redis_server: RedisServer, books: Books) -> None:
    async with redis_client(own_redis_server.url) as redis, AsyncExitStack() as stack:
        quota = await shared(stack, redis, books, timeout=0.5)
        reservation = await quota.reserve(wanted(METERED, tokens=60, cost=600))
        keeping = asyncio.create_task(quota.keep_leases())
        own_redis_server.pause()
        with pytest.raises(RedisError):
            await quota.settle(reservation, Used(10, 100))
        own_redis_server.resume()
        async with asyncio.timeout(60):
            while await redis.zcard("chorus:quota:{acme}:leases"):  # noqa: ASYNC110 - Redis has no event to wait for
                await asyncio.sleep(0.05)
        await quota.reserve(wanted(METERED, tokens=90, cost=900))
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_a_script_cache_that_was_emptied_is_filled_again(redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis)
        reservation = await quota.reserve(wanted(WHO))
        await redis.script_flush()
        await asyncio.gather(quota.settle(reservation, Used(1)), quota.reserve(wanted(WHO)), quota.renew())
        assert await in_flight(quota) == 1


@pytest.mark.parametrize(
    ("who", "most"),
    [(tenant(concurrent_requests=70), 70), (tenant(tokens_per_day=1_000), 50), (budget(1_000), 25)],
)
async def test_500_at_once_of_five_gateways_never_exceed_a_limit(redis: Redis, who: Subject, most: int) -> None:
    async with AsyncExitStack() as stack:
        gateways = [await shared(stack, redis) for _ in range(5)]
        asked = [gateways[at % 5].reserve(wanted(who, tokens=20, cost=40)) for at in range(500)]
        granted = [
            each for each in await asyncio.gather(*asked, return_exceptions=True) if not isinstance(each, Exception)
        ]
        assert len(granted) == most
        assert await in_flight(gateways[0]) == most


async def test_a_gateway_that_stood_still_takes_up_its_leases_again(redis: Redis) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        still, other = await shared(stack, redis, clock=clock), await shared(stack, redis, clock=clock)
        await tell_time(redis, clock)
        reservation = await still.reserve(wanted(METERED, tokens=40, cost=400))
        clock.now += 31
        await tell_time(redis, clock)
        assert await in_flight(other) == 0  # lapsed, and counted in full
        await still.renew()
        assert await other.outstanding("acme") == Outstanding(1, 1, 1, 40, 400)
        await still.settle(reservation, Used(10, 100))
        assert await other.outstanding("acme") == Outstanding(0, 0, 0, 0, 0)


async def test_a_settlement_after_the_lease_has_lapsed_is_left_to_the_ledger(redis: Redis, books: Books) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        still, other = await shared(stack, redis, books, clock=clock), await shared(stack, redis, books, clock=clock)
        await tell_time(redis, clock)
        reservation = await still.reserve(wanted(METERED, tokens=40, cost=400))
        clock.now += 31
        await tell_time(redis, clock)
        assert await in_flight(other) == 0
        books.rows = {("tenant:acme", Period.DAY): Used(10, 100), ("tenant:acme", Period.MONTH): Used(10, 100)}
        await still.settle(reservation, Used(10, 100))
        clock.now += 1
        await tell_time(redis, clock)
        await granted_soon(other, wanted(METERED, tokens=90, cost=900))
        assert await other.outstanding("acme") == Outstanding(1, 1, 1, 90, 900)


async def test_each_adapter_and_key_has_its_own(redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis)
        for name in ("k1", "k2"):
            await quota.reserve(wanted(tenant(), key(name, concurrent_requests=1)))
        for name in ("acme/sql", "other/sql"):
            await quota.reserve(wanted(tenant(), key("k3"), adapter(name, concurrent_requests=1)))
        with pytest.raises(RateLimited, match="this key"):
            await quota.reserve(wanted(tenant(), key("k1", concurrent_requests=1)))
        with pytest.raises(RateLimited, match="adapter 'other/sql'"):
            await quota.reserve(wanted(tenant(), key("k3"), adapter("other/sql", concurrent_requests=1)))


async def test_what_is_held_is_told_again_whoever_finds_the_loss(redis: Redis) -> None:
    """Also where it was a request, before the gateway looked by itself."""
    async with AsyncExitStack() as stack:
        quota, other = await shared(stack, redis, lease=3600.0), await shared(stack, redis)
        keeping = asyncio.create_task(quota.keep_leases())
        stack.callback(keeping.cancel)
        running = await quota.reserve(wanted(METERED, tokens=40, cost=400))
        async with asyncio.timeout(60):
            while not await redis.exists("chorus:quota:epoch"):  # noqa: ASYNC110 - Redis has no event to wait for
                await asyncio.sleep(0.01)
        await redis.flushall()
        await quota.settle(await quota.reserve(wanted(METERED, tokens=1, cost=1)), Used(1, 1))
        async with asyncio.timeout(60):  # leases are renewed three times an hour here
            while await other.outstanding("acme") != Outstanding(1, 1, 1, 40, 400):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
        await quota.settle(running, Used(1, 1))


async def test_keys_that_are_not_used_any_more_are_forgotten(redis: Redis) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        quota = await shared(stack, redis, clock=clock)
        await tell_time(redis, clock)
        for name in ("old", "running", "new"):
            clock.now += 1800
            await tell_time(redis, clock)
            reservation = await quota.reserve(wanted(tenant(), key(name, tokens_per_day=10)))
            if name != "running":
                await quota.settle(reservation, Used(1))
        clock.now += 1801
        await tell_time(redis, clock)
        await quota.renew()
        assert sorted(await redis.hkeys("chorus:quota:{acme}:accounts")) == ["key:new", "key:running"]


async def test_a_count_that_fails_is_not_tried_at_once_again(
    redis: Redis, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(START)
    async with AsyncExitStack() as stack:
        dead, alive = await shared(stack, redis, books, clock=clock), await shared(stack, redis, books, clock=clock)
        await tell_time(redis, clock)
        who = tenant(tokens_per_day=10_000)
        await dead.reserve(wanted(who))
        await alive.reserve(wanted(who))
        clock.now += 31
        await tell_time(redis, clock)
        assert await in_flight(alive) == 0
        clock.now += 1
        await tell_time(redis, clock)
        books.error = Unavailable("The database is away.")
        for _ in range(50):
            await alive.settle(await alive.reserve(wanted(who)), Used(1))
        assert len(books.asked) <= 2 + 10  # once a second, however slow the machine
        assert len([each for each in caplog.records if "not counted" in each.message]) == 1
