"""The rules of a quota, held to by both that there are."""

import asyncio

import pytest

from chorus_gateway.errors import GatewayError, InvalidRequest, QuotaExceeded, RateLimited
from chorus_gateway.quota.base import Reservation, Subject, Used
from chorus_gateway.values import NANO, Period
from tests.gateway.quota.conftest import AnyQuota, Books, Timed, adapter, budget, in_flight, key, left, tenant, wanted


async def test_requests_per_minute_are_granted_once_each(quota: AnyQuota) -> None:
    who = tenant(requests_per_minute=3)
    assert [left(await quota.reserve(wanted(who)), "requests") for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        await quota.reserve(wanted(who))
    assert refused.value.retry_after == pytest.approx(20)  # one of three comes back every 20 s
    assert "tenant 'acme' on requests per minute: limit 3, left 0" in refused.value.message
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.value.code == "rate_limit_exceeded"


async def test_headers_name_only_the_limits_there_are(quota: AnyQuota) -> None:
    headers = (await quota.reserve(wanted(tenant(tokens_per_minute=6000), tokens=100))).headers
    assert dict(headers) == {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }
    assert (await quota.reserve(wanted(tenant("free"), tokens=10**9, of="free"))).headers == {}


async def test_headers_tell_of_the_tightest_limit(quota: AnyQuota) -> None:
    subjects = (
        tenant(requests_per_minute=100, tokens_per_minute=1000),
        key(requests_per_minute=10, tokens_per_minute=5000),
        adapter(tokens_per_minute=900),
    )
    headers = (await quota.reserve(wanted(*subjects, tokens=100))).headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("10", "9")
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("900", "800")


async def test_settle_gives_back_what_was_not_used(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=1000)
    reservation = await quota.reserve(wanted(who, tokens=900))
    with pytest.raises(RateLimited):
        await quota.reserve(wanted(who, tokens=500))
    await quota.settle(reservation, Used(100))
    assert left(await quota.reserve(wanted(who, tokens=500)), "tokens") == 400


async def test_settle_charges_more_than_was_reserved(quota: AnyQuota) -> None:
    who = tenant(tokens_per_minute=1000)
    await quota.settle(await quota.reserve(wanted(who, tokens=100)), Used(1500))
    with pytest.raises(RateLimited) as refused:
        await quota.reserve(wanted(who))
    assert refused.value.retry_after == pytest.approx(30.06)  # 500 in debt at 1000 a minute, and one more
    assert refused.value.headers["x-ratelimit-remaining-tokens"] == "0"


async def test_settle_is_idempotent(quota: AnyQuota) -> None:
    who = budget(1000, tokens_per_minute=1000, concurrent_requests=5, tokens_per_day=1000)
    other = await quota.reserve(wanted(who, tokens=500, cost=500))
    reservation = await quota.reserve(wanted(who, tokens=400, cost=400))
    for _ in range(3):
        await quota.settle(reservation, Used(10, 10))
    assert await in_flight(quota) == 1
    assert left(await quota.reserve(wanted(who, tokens=100, cost=100)), "tokens") == 390
    with pytest.raises(QuotaExceeded, match=r"0\.00000001 used"):  # once
        await quota.reserve(wanted(who, tokens=1, cost=991))
    await quota.settle(other, Used(500, 500))


async def test_what_time_has_given_back_is_not_given_back_again(timed: Timed) -> None:
    who = tenant(tokens_per_minute=1000)
    reservation = await timed.quota.reserve(wanted(who, tokens=100))
    await timed.move(6)
    await timed.quota.settle(reservation, Used())
    assert left(await timed.quota.reserve(wanted(who)), "tokens") == 999


async def test_requests_in_flight_are_bounded_and_freed(quota: AnyQuota) -> None:
    who = tenant(concurrent_requests=2)
    first = await quota.reserve(wanted(who))
    await quota.reserve(wanted(who))
    with pytest.raises(RateLimited, match="requests in flight: limit 2, running 2"):
        await quota.reserve(wanted(who))
    await quota.settle(first, Used(1))
    await quota.reserve(wanted(who))
    assert await in_flight(quota) == 2


@pytest.mark.parametrize(
    ("short", "message"),
    [
        (tenant(tokens_per_minute=100), "tenant 'acme' on tokens per minute: limit 100"),
        (key(tokens_per_minute=100), "this key on tokens per minute: limit 100"),
        (adapter(tokens_per_minute=100), "adapter 'acme/sql' on tokens per minute: limit 100"),
    ],
)
async def test_a_refusal_by_one_takes_of_none(quota: AnyQuota, short: Subject, message: str) -> None:
    wide = {"requests_per_minute": 10, "tokens_per_minute": 10_000, "tokens_per_day": 10_000, "concurrent_requests": 9}
    subjects = {each.kind: each for each in (tenant(**wide), key(**wide), adapter(**wide), short)}
    held = await quota.reserve(wanted(*subjects.values(), tokens=60))
    for _ in range(5):
        with pytest.raises(RateLimited, match=message):
            await quota.reserve(wanted(*subjects.values(), tokens=60))
    await quota.settle(held, Used(60))
    last = await quota.reserve(wanted(*(each for each in subjects.values() if each is not short), tokens=10_000 - 60))
    assert left(last, "requests") == 8
    assert left(last, "tokens") == 0
    assert await in_flight(quota) == 1


@pytest.mark.parametrize(
    ("who", "tokens", "cost", "message"),
    [
        (tenant(tokens_per_minute=1000), 5000, 0, r"5000 tokens .* limit of 1000 tokens per minute of tenant 'acme'"),
        (key(tokens_per_day=1000), 5000, 0, r"5000 tokens .* limit of 1000 tokens per day of this key"),
        (budget(NANO // 2), 1, NANO, r"cost 1.00 .* whole budget of 0.50 a month of tenant 'acme'.* lower max_tokens"),
    ],
)
async def test_what_can_never_fit_is_told_so(
    quota: AnyQuota, who: Subject, tokens: int, cost: int, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        await quota.reserve(wanted(who, tokens=tokens, cost=cost))
    assert (refused.value.param, refused.value.code) == ("max_tokens", "request_too_large")


async def test_a_days_tokens_are_spent_once(quota: AnyQuota) -> None:
    who = tenant(tokens_per_day=100)
    await quota.settle(await quota.reserve(wanted(who, tokens=100)), Used(60))
    with pytest.raises(
        QuotaExceeded, match=r"limit of 100 tokens per day.*60 used.*may use 50.*lower max_tokens"
    ) as no:
        await quota.reserve(wanted(who, tokens=50))
    assert no.value.code == "insufficient_quota"
    assert no.value.message.endswith("T00:00:00Z.")
    await quota.settle(await quota.reserve(wanted(who, tokens=40)), Used(40))
    with pytest.raises(QuotaExceeded, match=r"100 used, and this request may use 1; it is new at"):
        await quota.reserve(wanted(who))


async def test_what_requests_in_flight_may_use_is_worth_waiting_for(quota: AnyQuota) -> None:
    who = budget(1000, tokens_per_day=100)
    held = await quota.reserve(wanted(who, tokens=80, cost=300))
    with pytest.raises(RateLimited, match=r"tokens per day: limit 100, used 0, reserved by requests in flight 80"):
        await quota.reserve(wanted(who, tokens=50, cost=300))
    with pytest.raises(RateLimited, match=r"its budget: .*requested 0\.0000008"):
        await quota.reserve(wanted(who, tokens=1, cost=800))
    await quota.settle(held, Used(10, 30))
    await quota.reserve(wanted(who, tokens=50, cost=800))


@pytest.mark.parametrize(
    ("period", "until"), [(Period.DAY, "new at"), (Period.MONTH, "-01T"), (Period.TOTAL, "raised")]
)
async def test_a_budget_is_spent_by_what_was_used(quota: AnyQuota, period: Period, until: str) -> None:
    who = budget(1000, period)
    await quota.settle(await quota.reserve(wanted(who, cost=900)), Used(1, 400))
    await quota.settle(await quota.reserve(wanted(who, cost=600)), Used(1, 600))
    with pytest.raises(QuotaExceeded, match=until) as refused:
        await quota.reserve(wanted(who, cost=1))
    assert "0.000001" in refused.value.message


async def test_a_free_request_passes_a_spent_budget(quota: AnyQuota) -> None:
    who = budget(10)
    await quota.settle(await quota.reserve(wanted(who, cost=10)), Used(1, 10))
    await quota.reserve(wanted(who, cost=0))


async def test_what_the_ledger_knows_counts(quota: AnyQuota, books: Books) -> None:
    books.rows = {("tenant:acme", Period.DAY): Used(90, 5), ("tenant:acme", Period.MONTH): Used(7, 970)}
    with pytest.raises(QuotaExceeded, match="90 used"):
        await quota.reserve(wanted(budget(1000, tokens_per_day=100), tokens=11))
    with pytest.raises(QuotaExceeded, match=r"0\.00000097 used"):
        await quota.reserve(wanted(budget(1000, tokens_per_day=100), tokens=1, cost=31))
    await quota.reserve(wanted(budget(1000, tokens_per_day=100), tokens=10, cost=30))
    assert sorted(books.asked) == [("tenant:acme", Period.DAY), ("tenant:acme", Period.MONTH)]


async def test_tenants_do_not_share_buckets(quota: AnyQuota) -> None:
    limits = {"requests_per_minute": 1, "concurrent_requests": 1}
    await quota.reserve(wanted(tenant("a", **limits), of="a"))
    await quota.reserve(wanted(tenant("b", **limits), of="b"))
    with pytest.raises(RateLimited):
        await quota.reserve(wanted(tenant("a", **limits), of="a"))


async def test_limits_set_later_begin_with_a_full_bucket(quota: AnyQuota) -> None:
    for _ in range(3):
        await quota.reserve(wanted(tenant(), tokens=1_000))
    assert left(await quota.reserve(wanted(tenant(tokens_per_minute=100), tokens=10)), "tokens") == 90


async def test_a_changed_limit_keeps_the_share_that_was_used(quota: AnyQuota) -> None:
    reservation = await quota.reserve(wanted(tenant(tokens_per_minute=1000), tokens=500))
    assert left(await quota.reserve(wanted(tenant(tokens_per_minute=100), tokens=1)), "tokens") == 49
    await quota.settle(reservation, Used())  # what was half of the minute then is half of it now
    assert left(await quota.reserve(wanted(tenant(tokens_per_minute=10_000), tokens=1)), "tokens") == 9899


async def test_a_limit_that_was_lifted_is_counted_anew_by_the_ledger(quota: AnyQuota, books: Books) -> None:
    await quota.settle(await quota.reserve(wanted(tenant(tokens_per_day=100), tokens=10)), Used(10))
    await quota.reserve(wanted(tenant(), tokens=80))  # nobody counts
    books.rows[("tenant:acme", Period.DAY)] = Used(90)
    with pytest.raises(QuotaExceeded, match="90 used"):
        await quota.reserve(wanted(tenant(tokens_per_day=100), tokens=20))


async def test_what_was_in_flight_before_a_limit_counts_for_it_when_it_ends(quota: AnyQuota) -> None:
    early = await quota.reserve(wanted(tenant(concurrent_requests=9), tokens=50))
    late = await quota.reserve(wanted(tenant(concurrent_requests=9, tokens_per_day=100), tokens=50))
    await quota.settle(early, Used(30))
    await quota.settle(late, Used(20))
    with pytest.raises(QuotaExceeded, match="50 used"):
        await quota.reserve(wanted(tenant(concurrent_requests=9, tokens_per_day=100), tokens=51))


LIMITS = {
    "requests": ((tenant(requests_per_minute=150),), 150),
    "tokens": ((tenant(tokens_per_minute=1_000),), 50),
    "places": ((tenant(concurrent_requests=70),), 70),
    "day": ((tenant(tokens_per_day=1_000),), 50),
    "money": ((budget(1_000),), 25),
    "key": ((tenant(requests_per_minute=400), key(tokens_per_day=300)), 15),
    "adapter": ((tenant(requests_per_minute=400), key(), adapter(concurrent_requests=33)), 33),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_500_at_once_never_exceed_a_limit(quota: AnyQuota, name: str) -> None:
    subjects, most = LIMITS[name]
    asked = [quota.reserve(wanted(*subjects, tokens=20, cost=40)) for _ in range(500)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    granted = [answer for answer in answers if isinstance(answer, Reservation)]
    assert len(granted) == most
    assert all(isinstance(answer, GatewayError) for answer in answers if not isinstance(answer, Reservation))
    await asyncio.gather(*(quota.settle(reservation, Used()) for reservation in granted))
    assert await in_flight(quota) == 0
