"""Which adapter gives way, by either policy, alone and on a trace."""

import random
from dataclasses import replace

import pytest

from benchmarks.slots.trace import rank_of, trace
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import SampledToken
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler import Scheduler
from chorus_engine.scheduler.eviction import Demand, EvictionPolicy, LeastRecentlyUsed, make_policy
from tests.engine.scheduler.drive import SMALL, request

ROW_BYTES = 100_000  # of a rank row over all modules


@pytest.fixture(params=["demand", "lru"])
def policy(request: pytest.FixtureRequest) -> EvictionPolicy:
    return make_policy(request.param)


def worth(policy: EvictionPolicy, digest: str, last_use: float = 0.0, pages: int = 4, size: int = 1 << 20) -> float:
    return policy.worth(digest, pages, size, last_use)


def test_of_two_alike_the_one_used_last_is_worth_more(policy: EvictionPolicy) -> None:
    for now, digest in enumerate(["old", "new"]):
        policy.asked(digest, float(now))
    assert worth(policy, "new", last_use=1.0) > worth(policy, "old", last_use=0.0)


def test_worths_are_in_order_however_much_time_has_gone_by(policy: EvictionPolicy) -> None:
    for now in (0.0, 1e6, 3e7):
        for digest in ("first", "second"):
            now += 600.0
            policy.asked(digest, now)
        assert worth(policy, "second", last_use=now) > worth(policy, "first", last_use=now - 600.0)


def test_what_nobody_asked_for_is_worth_least(policy: EvictionPolicy) -> None:
    policy.asked("known", 5.0)
    assert worth(policy, "known", last_use=5.0) > worth(policy, "stranger")


def test_demand_counts_how_often_and_forgets_with_time() -> None:
    policy = Demand(half_life=60.0)
    for _ in range(4):
        policy.asked("often", 0.0)
    policy.asked("once", 30.0)
    assert worth(policy, "often") > worth(policy, "once")
    policy.asked("once", 300.0)
    assert worth(policy, "often") < worth(policy, "once")


def test_demand_spares_what_frees_little_and_is_dear_to_load() -> None:
    policy = Demand()
    for digest in ("small", "large", "dear"):
        policy.asked(digest, 0.0)
    assert worth(policy, "small", pages=2) > worth(policy, "large", pages=32)
    assert worth(policy, "dear", size=80 << 20) > worth(policy, "small", size=8 << 20)


def test_demand_remembers_a_bounded_number_of_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chorus_engine.scheduler.eviction.REMEMBERED", 10)
    policy = Demand()
    for i in range(100):
        policy.asked(f"x{i}", float(i))
    assert worth(policy, "x0") == worth(policy, "stranger")
    assert worth(policy, "x95") > worth(policy, "stranger")


def results_of(plan: StepPlan) -> StepResult:
    sampled = tuple((SampledToken(1),) if row.sample else () for row in plan.rows)
    return StepResult(plan.step, sampled, tuple(load.slot for load in plan.load))


def hit_ratio(policy: EvictionPolicy, alpha: float, slots: int, requests: int) -> float:
    """Share of the requests of S-LoRA's trace whose adapter is in a slot, when slots and pages are short."""
    adapters = 300
    capacity = replace(SMALL, max_adapters=slots, adapter_pages=2 * slots, max_lora_rank=64, max_num_seqs=16)
    scheduler = Scheduler(capacity, eviction=policy)
    for index in range(adapters):
        rank = rank_of(index)
        scheduler.adapter_fetched(AdapterFootprint(f"x{index}", ((0, "q", rank),), rank * ROW_BYTES))
    arrivals = trace(7, adapters, alpha=alpha, rate=20.0, seconds=requests / 20.0)
    for number, arrival in enumerate(arrivals):
        adapter = f"x{arrival.adapter_index}"
        scheduler.add(request(f"r{number}", 1, 1, adapter=adapter, arrival=arrival.at))
        while not scheduler.idle:
            plan = scheduler.schedule(arrival.at)
            assert plan is not None
            scheduler.commit(plan, results_of(plan), arrival.at)
    load = scheduler.load()
    assert load.gpu_hits + load.host_hits + load.misses == len(arrivals)
    assert load.misses == 0
    scheduler.check()
    return load.gpu_hits / len(arrivals)


@pytest.mark.parametrize(("alpha", "slots"), [(0.5, 48), (1.0, 16), (1.0, 48)])
def test_demand_beats_least_recently_used_on_the_skewed_trace(alpha: float, slots: int) -> None:
    """Of the same trace, by at least a twentieth more hits."""
    demand, lru = (hit_ratio(policy, alpha, slots, requests=2000) for policy in (Demand(), LeastRecentlyUsed()))
    assert demand > 1.05 * lru, f"{demand:.3f} of requests hit by demand, {lru:.3f} by lru"


def test_what_is_worth_least_gives_way_whoever_came_first() -> None:
    """Three slots' worth of pages; the policy's order decides, not the slots'."""
    capacity = replace(SMALL, max_adapters=3)
    for seed in range(5):
        scheduler = Scheduler(capacity, eviction=Demand())
        order = ["a", "b", "c"]
        random.Random(seed).shuffle(order)
        for now, (digest, times) in enumerate(zip(order, (3, 1, 2), strict=True)):
            scheduler.adapter_fetched(AdapterFootprint(digest, ((0, "q", 8),), 1000))
            for turn in range(times):
                serve(scheduler, f"{digest}{turn}", digest, float(now))
        scheduler.adapter_fetched(AdapterFootprint("new", ((0, "q", 8),), 1000))
        serve(scheduler, "new", "new", 3.0)
        assert {each.digest for each in scheduler.residency()} == {order[0], order[2], "new"}


def serve(scheduler: Scheduler, name: str, adapter: str, now: float) -> None:
    scheduler.add(request(name, 1, 1, adapter=adapter, arrival=now))
    while not scheduler.idle:
        plan = scheduler.schedule(now)
        assert plan is not None
        scheduler.commit(plan, results_of(plan), now)
