"""Policies of what gives way: what holds for each, and what demand is better at."""

from collections.abc import Callable

import pytest

from benchmarks.slots.trace import rank_of, trace
from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.eviction import Demand, EvictionPolicy, LeastRecentlyUsed, ReloadCost, make_policy
from tests.engine.adapters.build import held

POLICIES: list[Callable[[], EvictionPolicy]] = [Demand, LeastRecentlyUsed]


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> EvictionPolicy:
    made: EvictionPolicy = request.param()
    return made


def test_a_request_never_lowers_a_value(policy: EvictionPolicy) -> None:
    before = policy.value("a", 10, 0.1, now=0.0)
    for now in (0.0, 0.0, 1.0, 50.0, 10_000.0, 10_000.0):
        policy.asked("a", now)
        after = policy.value("a", 10, 0.1, now)
        assert after >= before
        before = after


def test_what_was_asked_for_lately_is_worth_more_than_what_was_asked_for_long_ago(policy: EvictionPolicy) -> None:
    policy.asked("old", 0.0)
    policy.asked("new", 100.0)
    assert policy.value("new", 10, 0.1, now=100.0) > policy.value("old", 10, 0.1, now=100.0)


def test_what_would_be_asked_for_now_is_worth_no_less_than_what_was_asked_for_once(policy: EvictionPolicy) -> None:
    policy.asked("a", 5.0)
    assert policy.value("never", 10, 0.1, now=6.0, asked=True) > policy.value("a", 10, 0.1, now=6.0)
    assert policy.value("never", 10, 0.1, now=6.0) < policy.value("a", 10, 0.1, now=6.0)


def test_demand_weighs_frequency_cost_and_size() -> None:
    policy = Demand()
    for digest, times in (("often", 3), ("once", 1)):
        for _ in range(times):
            policy.asked(digest, 1.0)
    assert policy.value("often", 10, 0.1, now=1.0) > policy.value("once", 10, 0.1, now=1.0)
    assert policy.value("once", 10, 0.1, now=1.0) > policy.value("once", 20, 0.1, now=1.0)
    assert policy.value("once", 10, 0.2, now=1.0) > policy.value("once", 10, 0.1, now=1.0)


def test_the_cost_of_a_reload_is_what_loads_took() -> None:
    cost = ReloadCost()
    for _ in range(200):
        cost.came(1_000_000, ReloadCost.FIXED + 0.01)
    assert cost(2_000_000) == pytest.approx(ReloadCost.FIXED + 0.02, rel=0.01)


def test_policies_have_names() -> None:
    assert isinstance(make_policy("demand"), Demand)
    assert isinstance(make_policy("lru"), LeastRecentlyUsed)


RANK_BYTES = 16 << 10
SECONDS_A_BYTE = 1 / 300e6


def replay(policy: EvictionPolicy, alpha: float, share: float) -> tuple[float, float]:
    """S-LoRA's trace over host memory for `share` of 300 adapters: share of hits, seconds spent loading."""
    now = 0.0
    total = int(share * sum(rank_of(i) * RANK_BYTES for i in range(300)))
    cache = HostCache(total, policy, needed=lambda digest: False, dropped=lambda digest: None, clock=lambda: now)
    arrivals = trace(7, 300, alpha=alpha, rate=10, seconds=400)
    seconds = 0.0
    for arrival in arrivals:
        now, digest = arrival.at, f"{arrival.adapter_index:064d}"
        if digest not in cache:
            size = rank_of(arrival.adapter_index) * RANK_BYTES
            took = ReloadCost.FIXED + size * SECONDS_A_BYTE
            cache.missed(digest)
            assert cache.reserve(digest, size, spare=False) is not None
            cache.put(held(digest, 0), took, requested=True)
            seconds += took
        cache.get(digest)
    cache.check()
    assert cache.hits + cache.misses == len(arrivals)
    return cache.hits / len(arrivals), seconds


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_demand_beats_lru_on_a_skewed_trace_in_hits_and_in_seconds(alpha: float) -> None:
    demand_hits, demand_seconds = replay(Demand(), alpha, share=0.15)
    lru_hits, lru_seconds = replay(LeastRecentlyUsed(), alpha, share=0.15)
    assert demand_hits > 1.1 * lru_hits, (demand_hits, lru_hits)
    assert demand_seconds < 0.9 * lru_seconds, (demand_seconds, lru_seconds)
