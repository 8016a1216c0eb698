import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry, Gauge

from chorus_gateway.errors import InvalidRequest, RateLimited, Unavailable
from chorus_gateway.quota import DegradingQuota, MemoryQuota, RedisQuota
from chorus_gateway.quota.base import Subject, Used
from tests.gateway.quota.conftest import TIMEOUT, Clock, adapter, budget, in_flight, key, tenant, wanted
from tests.gateway.support.redis_server import RedisServer, redis_client

WHO = tenant(requests_per_minute=5)
METERED = [budget(1000), tenant(tokens_per_day=100), key(tokens_per_day=100), adapter(tokens_per_day=100)]


def degraded_gauge() -> Gauge:
    return Gauge("quota_degraded", "", registry=CollectorRegistry())


async def test_redis_goes_and_comes_back(own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    clock, gauge = Clock(100.0), degraded_gauge()
    async with redis_client(own_redis_server.url) as redis:
        shared = RedisQuota(redis, timeout=TIMEOUT)
        quota = DegradingQuota(shared, MemoryQuota(), gauge, clock=clock)
        before = await quota.reserve(wanted(WHO))
        assert before.headers["x-ratelimit-remaining-requests"] == "4"

        own_redis_server.stop()
        with caplog.at_level(logging.WARNING):
            held = [await quota.reserve(wanted(WHO)) for _ in range(5)]
            await quota.settle(before, Used(1))  # put off, and not raised
            with pytest.raises(RateLimited):  # the local limits hold
                await quota.reserve(wanted(WHO))
        assert gauge._value.get() == 1
        assert [record.message for record in caplog.records] == ["Redis is away: every gateway keeps limits by itself"]

        own_redis_server.start()
        clock.now += 2
        after = await quota.reserve(wanted(WHO))
        assert after.headers["x-ratelimit-remaining-requests"] == "4"  # Redis's own count, which began anew
        assert gauge._value.get() == 0
        for reservation in (*held, after):
            await quota.settle(reservation, Used(1))  # where it was made
        assert await in_flight(shared) == 0
        await shared.aclose()


async def test_a_refusal_shows_that_redis_is_back(own_redis_server: RedisServer) -> None:
    clock, gauge = Clock(100.0), degraded_gauge()
    async with redis_client(own_redis_server.url) as redis:
        shared = RedisQuota(redis, timeout=TIMEOUT)
        other = RedisQuota(redis, timeout=TIMEOUT)
        quota = DegradingQuota(shared, MemoryQuota(), gauge, clock=clock)
        own_redis_server.stop()
        await quota.reserve(wanted(WHO))
        assert gauge._value.get() == 1
        own_redis_server.start()
        clock.now += 2
        for _ in range(5):
            await other.reserve(wanted(WHO))
        with pytest.raises(RateLimited):
            await quota.reserve(wanted(WHO))
        assert gauge._value.get() == 0
        await shared.aclose()
        await other.aclose()


async def test_what_can_never_fit_is_no_sign_of_redis(own_redis_server: RedisServer) -> None:
    clock, gauge = Clock(100.0), degraded_gauge()
    async with redis_client(own_redis_server.url) as redis:
        shared = RedisQuota(redis, timeout=TIMEOUT)
        quota = DegradingQuota(shared, MemoryQuota(), gauge, clock=clock)
        own_redis_server.stop()
        await quota.reserve(wanted(WHO))
        clock.now += 2
        with pytest.raises(InvalidRequest):
            await quota.reserve(wanted(tenant(tokens_per_minute=10), tokens=11))
        assert gauge._value.get() == 1
        own_redis_server.start()
        await quota.reserve(wanted(WHO))  # which finds out
        assert gauge._value.get() == 0
        await shared.aclose()


@pytest.mark.parametrize("subject", METERED)
async def test_days_and_budgets_fail_closed(own_redis_server: RedisServer, subject: Subject) -> None:
    async with redis_client(own_redis_server.url) as redis:
        shared = RedisQuota(redis, timeout=TIMEOUT, patience=0)
        quota = DegradingQuota(shared, MemoryQuota(), degraded_gauge())
        await quota.settle(await quota.reserve(wanted(subject, cost=1)), Used(1, 1))
        own_redis_server.stop()
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot be told while Redis is away"):
                await quota.reserve(wanted(subject, cost=1))
        await shared.aclose()


async def test_the_breaker_keeps_requests_from_waiting_for_a_silent_redis() -> None:
    clock, gauge = Clock(100.0), degraded_gauge()
    # An address of the documentation network: connections neither succeed nor fail before the timeout.
    async with redis_client("redis://192.0.2.1:6379/0") as redis:
        redis.connection_pool.connection_kwargs |= {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
        shared = RedisQuota(redis, timeout=1.0)
        quota = DegradingQuota(shared, MemoryQuota(), gauge, clock=clock)
        async with asyncio.timeout(60):  # one waits, and not a hundred
            for _ in range(100):
                await quota.reserve(wanted(tenant(concurrent_requests=1000)))
        assert gauge._value.get() == 1
        await shared.aclose()


async def test_a_stopped_redis_holds_no_request_up(own_redis_server: RedisServer) -> None:
    """The connection is alive and nobody answers: what waits together gives up together."""
    async with redis_client(own_redis_server.url) as redis:
        shared = RedisQuota(redis, timeout=0.5)
        quota = DegradingQuota(shared, MemoryQuota(), degraded_gauge())
        early = [await quota.reserve(wanted(tenant(concurrent_requests=500))) for _ in range(3)]
        own_redis_server.pause()
        async with asyncio.timeout(60):  # one after the other they would take longer
            some = [quota.reserve(wanted(tenant(concurrent_requests=500))) for _ in range(200)]
            held = await asyncio.gather(*some)
            await asyncio.gather(*(quota.settle(each, Used(1)) for each in early))
        own_redis_server.resume()
        for each in held:
            await quota.settle(each, Used(1))
        await shared.aclose()
