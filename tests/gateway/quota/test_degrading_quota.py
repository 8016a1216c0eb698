import logging
import time

import pytest
from prometheus_client import CollectorRegistry, Gauge

from chorus_gateway.errors import RateLimited
from chorus_gateway.quota import DegradingQuota, MemoryQuota, RedisQuota
from chorus_gateway.values import Limits, Tenant
from tests.gateway.support.redis_server import RedisServer, redis_client

TENANT = Tenant("acme", Limits(requests_per_minute=5))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_redis_goes_and_comes_back(own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    clock, gauge = Clock(), Gauge("quota_degraded", "", registry=CollectorRegistry())
    async with redis_client(own_redis_server.url) as redis:
        quota = DegradingQuota(RedisQuota(redis), MemoryQuota(), gauge, clock=clock)
        before = await quota.reserve(TENANT, "before", 1)
        assert before.headers["x-ratelimit-remaining-requests"] == "4"

        own_redis_server.stop()
        with caplog.at_level(logging.WARNING):
            held = [await quota.reserve(TENANT, f"local{number}", 1) for number in range(5)]
            await quota.settle(before, 1)  # lost with Redis, and not raised
            with pytest.raises(RateLimited):  # the local limits hold
                await quota.reserve(TENANT, "too many", 1)
        assert gauge._value.get() == 1
        assert [record.message for record in caplog.records] == ["Redis is away: every gateway keeps limits by itself"]

        own_redis_server.start()
        clock.now += 2
        after = await quota.reserve(TENANT, "after", 1)
        assert after.headers["x-ratelimit-remaining-requests"] == "4"  # Redis's own count, which began anew
        assert gauge._value.get() == 0
        for reservation in held:
            await quota.settle(reservation, 1)  # where it was made
        await quota.settle(after, 1)


async def test_the_breaker_keeps_requests_from_waiting_for_a_silent_redis() -> None:
    clock, gauge = Clock(), Gauge("quota_degraded", "", registry=CollectorRegistry())
    # A port of the documentation network: connections neither succeed nor fail before the timeout.
    async with redis_client("redis://192.0.2.1:6379/0") as redis:
        redis.connection_pool.connection_kwargs |= {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
        quota = DegradingQuota(RedisQuota(redis), MemoryQuota(), gauge, clock=clock)
        free = Tenant("free", Limits(concurrent_requests=1000))
        started = time.monotonic()
        for number in range(100):
            await quota.reserve(free, f"r{number}", 1)
        assert time.monotonic() - started < 2.0
        assert gauge._value.get() == 1
