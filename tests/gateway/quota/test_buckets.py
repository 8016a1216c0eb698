"""A minute's limit over time, by a clock."""

import pytest

from chorus_gateway.errors import QuotaExceeded, RateLimited
from chorus_gateway.quota import MemoryQuota, RedisQuota
from chorus_gateway.quota.base import Used
from chorus_gateway.quota.buckets import DIPS, Dips
from chorus_gateway.values import Period
from tests.gateway.quota.conftest import Books, Timed, budget, left, tenant, wanted

WHO = tenant(tokens_per_minute=1000)
AnyQuota = MemoryQuota | RedisQuota


async def test_a_minute_is_not_granted_twice_by_what_comes_back_late(timed: Timed) -> None:
    quota = timed.quota
    early = await quota.reserve(wanted(WHO, tokens=1000))
    await timed.move(59.0)
    with pytest.raises(RateLimited):
        await quota.reserve(wanted(WHO, tokens=985))
    late = await quota.reserve(wanted(WHO, tokens=983))  # one second of the first one's minute is left
    await quota.settle(early, Used())  # had it asked for nothing, that second is all there would be more
    assert left(await quota.reserve(wanted(WHO, tokens=1)), "tokens") == 1000 - 983 - 1
    await quota.settle(late, Used(983))


async def test_what_comes_back_while_the_bucket_was_never_full_comes_back_whole(timed: Timed) -> None:
    quota = timed.quota
    first = await quota.reserve(wanted(WHO, tokens=600))
    second = await quota.reserve(wanted(WHO, tokens=300))
    await timed.move(6)
    await quota.settle(first, Used(0))
    assert left(await quota.reserve(wanted(WHO, tokens=1)), "tokens") == 1000 - 300 + 100 - 1
    await quota.settle(second, Used(0))
    assert left(await quota.reserve(wanted(WHO, tokens=1)), "tokens") == 1000 - 2


async def test_what_came_back_of_one_is_no_room_for_another(timed: Timed) -> None:
    quota = timed.quota
    first, second = [await quota.reserve(wanted(WHO, tokens=300)) for _ in range(2)]
    await timed.move(18)  # gives 300 back
    third = await quota.reserve(wanted(WHO, tokens=100))
    await quota.settle(second, Used())
    await quota.settle(first, Used())  # without both the bucket would have been full when the third one came
    assert left(await quota.reserve(wanted(WHO, tokens=1)), "tokens") == 1000 - 100 - 1
    await quota.settle(third, Used(100))


@pytest.mark.parametrize(("tokens", "wait"), [(1000, 60.0), (500, 30.0), (250, 15.0), (1, 0.06)])
async def test_retry_after_is_when_it_works_and_not_before(timed: Timed, tokens: int, wait: float) -> None:
    quota = timed.quota
    await quota.reserve(wanted(WHO, tokens=1000))
    with pytest.raises(RateLimited) as refused:
        await quota.reserve(wanted(WHO, tokens=tokens))
    assert refused.value.retry_after == pytest.approx(wait)
    await timed.move(refused.value.retry_after - 0.001)
    with pytest.raises(RateLimited):
        await quota.reserve(wanted(WHO, tokens=tokens))
    await timed.move(0.001)
    await quota.reserve(wanted(WHO, tokens=tokens))


async def test_the_longest_wait_of_all_limits_is_told(timed: Timed) -> None:
    who = tenant(requests_per_minute=1, tokens_per_minute=1000, concurrent_requests=1)
    await timed.quota.reserve(wanted(who, tokens=100))
    with pytest.raises(RateLimited, match="requests per minute") as refused:
        await timed.quota.reserve(wanted(who, tokens=1000))
    assert refused.value.retry_after == pytest.approx(60)


async def test_a_request_counts_for_the_day_and_month_it_began_in(timed: Timed, books: Books) -> None:
    """The clock stands three minutes before a midnight that ends January."""
    who = budget(1000, Period.MONTH, tokens_per_day=100)
    running = await timed.quota.reserve(wanted(who, tokens=100, cost=1000))
    with pytest.raises(RateLimited):
        await timed.quota.reserve(wanted(who, tokens=1, cost=1))
    await timed.move(170)
    with pytest.raises(RateLimited):
        await timed.quota.reserve(wanted(who, tokens=1, cost=1))
    await timed.move(10)  # midnight
    other = await timed.quota.reserve(wanted(who, tokens=100, cost=1000))
    await timed.quota.settle(running, Used(100, 1000))  # of yesterday
    await timed.quota.settle(other, Used(90, 900))
    with pytest.raises(QuotaExceeded, match=r"90 used.*new at 2026-02-02T00:00:00Z"):
        await timed.quota.reserve(wanted(who, tokens=11))
    with pytest.raises(QuotaExceeded, match=r"0\.0000009 used.*new at 2026-03-01T00:00:00Z"):
        await timed.quota.reserve(wanted(who, cost=101))
    assert len(books.asked) == 2  # at the very first request


async def test_total_budgets_are_never_new(timed: Timed) -> None:
    who = budget(100, Period.TOTAL)
    await timed.quota.settle(await timed.quota.reserve(wanted(who, cost=100)), Used(1, 100))
    await timed.move(3_000)
    with pytest.raises(QuotaExceeded, match=r"in all .*have it raised"):
        await timed.quota.reserve(wanted(who, cost=1))


def test_dips_keep_the_least_later_backlog() -> None:
    dips = Dips()
    for arrival, backlog in enumerate([0.0, 50.0, 30.0, 80.0]):
        dips.add(arrival, backlog)
    assert dips.take(0, 100.0) == 30.0  # what arrival 2 found
    assert dips.take(2, 100.0) == 50.0  # 80, less the 30 that came back before it
    assert dips.take(3, 100.0) == 100.0  # none came later


def test_few_dips_give_back_less_and_never_more() -> None:
    dips, backlogs = Dips(), [at * 6e5 for at in range(100)]
    for arrival, backlog in enumerate(backlogs):
        dips.add(arrival, backlog)
    assert len(dips.found) == DIPS
    for arrival in range(99):  # backlogs in µs, from none to a whole minute
        truly = min(backlogs[arrival + 1 :])
        assert truly / 5 <= next(backlog for at, backlog in dips.found if at > arrival) <= truly
