"""Quotas with a time of their own: Redis's TIME is read from a key, MemoryQuota's from the same clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_gateway.quota import MemoryQuota, RedisQuota
from chorus_gateway.quota import redis as redis_quota
from chorus_gateway.quota.base import Reservation, Subject, SubjectKind, Used, Wanted
from chorus_gateway.scripts import Script
from chorus_gateway.values import Limits, Period

CLOCK_KEY = "chorus:quota:{acme}:clock"
TIMEOUT = 5.0  # the machine may be busy
AnyQuota = MemoryQuota | RedisQuota


@dataclass
class Books:
    """A ledger that a test writes in itself."""

    rows: dict[tuple[str, Period], Used] = field(default_factory=dict)
    asked: list[tuple[str, Period]] = field(default_factory=list)
    error: Exception | None = None
    before: Callable[[], None] = lambda: None

    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        self.asked.append((subject.name, period))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.rows.get((subject.name, period), Used())


@pytest.fixture
def books() -> Books:
    return Books()


async def shared(
    stack: AsyncExitStack,
    redis: Redis,
    books: Books | None = None,
    *,
    lease: float = 30.0,
    timeout: float = TIMEOUT,
    clock: "Clock | None" = None,
) -> RedisQuota:
    """A gateway's quota in Redis, closed with the stack. It does not wait for other gateways to tell of theirs. With a
    `clock` its time is what `tell_time` has told."""
    scripts = None if clock is None else scripts_by(CLOCK_KEY)
    quota = RedisQuota(
        redis, books, lease=lease, timeout=timeout, scripts=scripts, patience=0.0, clock=clock or time.time
    )
    stack.push_async_callback(quota.aclose)
    return quota


async def tell_time(redis: Redis, clock: "Clock") -> None:
    await redis.set(CLOCK_KEY, round(clock.now * 1e6))


def tenant(name: str = "acme", /, **limits: Any) -> Subject:
    return Subject(SubjectKind.TENANT, name, Limits(**limits))


def key(name: str = "k1", /, **limits: Any) -> Subject:
    return Subject(SubjectKind.KEY, name, Limits(**limits))


def adapter(name: str = "acme/sql", /, **limits: Any) -> Subject:
    return Subject(SubjectKind.ADAPTER, name, Limits(**limits))


def budget(amount: int, period: Period = Period.MONTH, **limits: int) -> Subject:
    """The tenant's, in billionths."""
    subject = tenant(**limits)
    return replace(subject, limits=replace(subject.limits, budget=amount, budget_period=period))


def wanted(*subjects: Subject, tokens: int = 1, cost: int = 0, of: str = "acme") -> Wanted:
    return Wanted("r", of, subjects, tokens, cost)


async def in_flight(quota: AnyQuota, name: str = "acme") -> int:
    return (await quota.outstanding(name)).leases


def left(reservation: Reservation, kind: str) -> int:
    return int(reservation.headers[f"x-ratelimit-remaining-{kind}"])


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def scripts_by(clock_key: str) -> dict[str, Script]:
    """The quota's scripts, which read the time (µs) from a key."""
    instead = f"{{0, redis.call('GET', '{clock_key}')}}"
    scripts = redis_quota.load_scripts()
    return {name: Script.of(script.source.replace("redis.call('TIME')", instead)) for name, script in scripts.items()}


START = datetime(2026, 1, 31, 23, 57, tzinfo=UTC).timestamp()  # a day and a month end in three minutes


@dataclass
class Timed:
    """A quota whose time is moved by hand."""

    quota: AnyQuota
    clock: Clock
    redis: Redis | None = None

    async def move(self, seconds: float) -> None:
        self.clock.now += seconds
        if self.redis is not None:
            await tell_time(self.redis, self.clock)


@pytest.fixture(params=["memory", "redis"])
async def timed(request: pytest.FixtureRequest, redis: Redis, books: Books) -> AsyncIterator[Timed]:
    clock = Clock(START)
    if request.param == "memory":
        yield Timed(MemoryQuota(books, clock=clock), clock)
        return
    async with AsyncExitStack() as stack:
        timed = Timed(await shared(stack, redis, books, lease=900.0, clock=clock), clock, redis)
        await timed.move(0)
        yield timed


@pytest.fixture
def quota(timed: Timed) -> AnyQuota:
    """For which no time passes."""
    return timed.quota
