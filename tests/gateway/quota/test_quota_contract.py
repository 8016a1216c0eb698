"""The rules of a quota, held to by both that there are."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from chorus_gateway.errors import InvalidRequest, RateLimited
from chorus_gateway.quota import MemoryQuota, RedisQuota
from chorus_gateway.values import Limits, Reservation, Tenant

AnyQuota = MemoryQuota | RedisQuota


@pytest.fixture(params=["memory", "redis"])
async def quota(request: pytest.FixtureRequest, redis: Redis) -> AnyQuota:
    return MemoryQuota() if request.param == "memory" else RedisQuota(redis)


def tenant(**limits: int) -> Tenant:
    return Tenant("acme", Limits(**limits))


async def in_flight(quota: AnyQuota, who: Tenant) -> int:
    count = quota.in_flight(who)
    return count if isinstance(count, int) else await count


def left(reservation: Reservation, kind: str) -> int:
    return int(reservation.headers[f"x-ratelimit-remaining-{kind}"])


async def test_requests_per_minute_are_granted_once_each(quota: AnyQuota) -> None:
    who = tenant(requests_per_minute=3)
    remaining = [left(await quota.reserve(who, f"r{i}", 1), "requests") for i in range(3)]
    assert remaining == [2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        await quota.reserve(who, "r3", 1)
    assert 15 < refused.value.retry_after <= 20  # one of three comes back every 20 s
    assert "requests per minute: limit 3, left 0" in refused.value.message
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.value.code == "rate_limit_exceeded"


async def test_headers_name_only_the_limits_there_are(quota: AnyQuota) -> None:
    headers = (await quota.reserve(tenant(tokens_per_minute=6000), "r", 100)).headers
    assert dict(headers) == {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }
    assert (await quota.reserve(Tenant("free"), "r", 10**9)).headers == {}


async def test_settle_gives_back_what_was_not_used(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=1000)
    reservation = await quota.reserve(who, "a", 900)
    with pytest.raises(RateLimited):
        await quota.reserve(who, "b", 500)
    await quota.settle(reservation, 100)
    assert 400 <= left(await quota.reserve(who, "b", 500), "tokens") <= 401


async def test_settle_charges_more_than_was_reserved(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=1000)
    await quota.settle(await quota.reserve(who, "a", 100), 1500)
    with pytest.raises(RateLimited) as refused:
        await quota.reserve(who, "b", 1)
    assert 29 < refused.value.retry_after < 31  # 500 in debt at 1000 a minute
    assert refused.value.headers["x-ratelimit-remaining-tokens"] == "0"


async def test_settle_is_idempotent(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=1000, concurrent_requests=5)
    other = await quota.reserve(who, "other", 500)
    reservation = await quota.reserve(who, "a", 400)
    for _ in range(3):
        await quota.settle(reservation, 0)
    assert await in_flight(quota, who) == 1
    assert left(await quota.reserve(who, "b", 100), "tokens") in (400, 401)
    await quota.settle(other, 500)


async def test_a_refund_never_exceeds_the_bucket(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=60_000_000)  # refills what is reserved at once
    reservation = await quota.reserve(who, "a", 1000)
    await asyncio.sleep(0.01)
    await quota.settle(reservation, 0)
    assert left(await quota.reserve(who, "b", 1), "tokens") == 60_000_000 - 1


async def test_requests_in_flight_are_bounded_and_freed(quota: AnyQuota) -> None:
    who = tenant(concurrent_requests=2)
    first = await quota.reserve(who, "a", 1)
    await quota.reserve(who, "b", 1)
    with pytest.raises(RateLimited, match="requests in flight: limit 2, running 2"):
        await quota.reserve(who, "c", 1)
    await quota.settle(first, 1)
    await quota.reserve(who, "c", 1)
    assert await in_flight(quota, who) == 2


async def test_a_refused_reservation_takes_nothing(quota: AnyQuota) -> None:
    who = tenant(requests_per_minute=10, tokens_per_minute=100)
    await quota.reserve(who, "a", 90)
    for attempt in range(5):
        with pytest.raises(RateLimited, match="tokens per minute"):
            await quota.reserve(who, f"refused{attempt}", 50)
    assert left(await quota.reserve(who, "b", 10), "requests") == 8
    assert await in_flight(quota, who) == 2


async def test_what_can_never_fit_is_told_so(quota: AnyQuota) -> None:
    with pytest.raises(InvalidRequest, match=r"5000 tokens .* limit of 1000 tokens per minute") as refused:
        await quota.reserve(tenant(tokens_per_minute=1000), "a", 5000)
    assert refused.value.param == "max_tokens"


async def test_tenants_do_not_share_buckets(quota: AnyQuota) -> None:
    limits = Limits(requests_per_minute=1, concurrent_requests=1)
    await quota.reserve(Tenant("a", limits), "r", 1)
    await quota.reserve(Tenant("b", limits), "r", 1)
    with pytest.raises(RateLimited):
        await quota.reserve(Tenant("a", limits), "r2", 1)


async def test_limits_set_later_begin_with_a_full_bucket(quota: AnyQuota) -> None:
    for number in range(3):
        await quota.reserve(Tenant("acme"), f"r{number}", 1_000)
    assert left(await quota.reserve(tenant(tokens_per_minute=100), "r", 10), "tokens") == 90


async def test_200_at_once_never_exceed_a_limit(quota: AnyQuota) -> None:
    who = tenant(requests_per_minute=150, tokens_per_minute=1_000, concurrent_requests=70)
    started = time.monotonic()
    answers = await asyncio.gather(
        *(quota.reserve(who, f"r{number}", 20) for number in range(200)), return_exceptions=True
    )
    granted = [answer for answer in answers if isinstance(answer, Reservation)]
    refilled = (time.monotonic() - started) * 1_000 / 60
    assert 50 <= len(granted) <= (1_000 + refilled) / 20
    assert all(isinstance(answer, RateLimited) for answer in answers if answer not in granted)
    await asyncio.gather(*(quota.settle(reservation, 0) for reservation in granted))
    assert await in_flight(quota, who) == 0
