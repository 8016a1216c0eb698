from typing import Any

import pytest

from chorus_gateway.queue.counters import AHEAD
from chorus_gateway.queue.fair import OUTPUT_WEIGHT, FairQueue, QueueRules
from chorus_gateway.queue.room import QueueFull
from chorus_gateway.values import Band, Job, Sampling, Tenant
from tests.gateway.support.values import BASE_DIGEST, base
from tests.gateway.support.values import job as any_job


def job(request_id: str = "r", **fields: Any) -> Job:
    """Without output, so that nothing is charged for it in advance."""
    return any_job(request_id, **({"sampling": Sampling(max_tokens=0)} | fields))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(max_jobs: int = 1000, max_bytes: int = 1 << 20, clock: Clock | None = None, **rules: Any) -> FairQueue:
    return FairQueue(max_jobs=max_jobs, max_bytes=max_bytes, rules=QueueRules(**rules), clock=clock or Clock())


def next_job(fair: FairQueue, model: str = BASE_DIGEST) -> Job:
    front = fair.fronts(model)[0]
    fair.pop(front.place)
    fair.check()
    return front.place.job


def order(fair: FairQueue) -> list[str]:
    return [next_job(fair).request_id for _ in range(len(fair))]


def test_first_come_first_served_for_one_tenant() -> None:
    fair = queue()
    for name in "abc":
        fair.push(job(name))
    assert order(fair) == ["a", "b", "c"]


def test_the_lower_band_value_goes_first() -> None:
    fair = queue()
    for name, band in (("flex", Band.FLEX), ("default", Band.DEFAULT), ("priority", Band.PRIORITY)):
        fair.push(job(name, band=band))
    assert order(fair) == ["priority", "default", "flex"]


def test_tenants_take_turns_by_what_they_were_served() -> None:
    fair = queue()
    for at in range(4):
        fair.push(job(f"long{at}", tenant="long", prompt=(1,) * 30))
    for at in range(4):
        fair.push(job(f"short{at}", tenant="short", prompt=(1,) * 10))
    assert order(fair) == ["long0", "short0", "short1", "short2", "long1", "short3", "long2", "long3"]


def test_output_counts_twice_and_weight_divides() -> None:
    fair = queue()
    heavy, light = Tenant("heavy", weight=3.0), Tenant("light")
    for at in range(8):
        fair.push(job(f"h{at}", tenant=heavy, prompt=()))
        fair.push(job(f"l{at}", tenant=light, prompt=()))
    served = {"heavy": 0, "light": 0}
    for _ in range(8):
        done = next_job(fair)
        served[done.tenant.id] += 1
        fair.charge(done.tenant, done.band, OUTPUT_WEIGHT * 10)
    assert served == {"heavy": 6, "light": 2}


def test_idleness_is_not_saved_up() -> None:
    fair = queue()
    for at in range(50):
        fair.push(job(f"busy{at}", tenant="busy", prompt=(1,) * 10))
    for _ in range(40):
        next_job(fair)
    for at in range(20):
        fair.push(job(f"back{at}", tenant="back", prompt=(1,) * 10))
    served = [next_job(fair).tenant.id for _ in range(10)]
    assert served.count("back") == 5


def test_a_tenant_that_leaves_for_a_moment_keeps_its_debt() -> None:
    fair = queue()
    fair.push(job("greedy", tenant="greedy", prompt=(1,) * 1000))
    fair.push(job("modest0", tenant="modest", prompt=(1,) * 10))
    fair.push(job("modest1", tenant="modest", prompt=(1,) * 10))
    assert [next_job(fair).request_id for _ in range(2)] == ["greedy", "modest0"]
    fair.push(job("greedy again", tenant="greedy"))
    fair.push(job("modest2", tenant="modest"))
    assert order(fair) == ["modest1", "modest2", "greedy again"]


def test_who_arrives_is_lifted_to_the_lowest_who_waits() -> None:
    fair = queue()
    fair.push(job("long", tenant="greedy", prompt=(1,) * 1000))
    next_job(fair)
    fair.push(job("first", tenant="greedy"))
    fair.push(job("second", tenant="new"))
    fair.push(job("third", tenant="greedy"))
    assert order(fair) == ["second", "first", "third"], "and goes before it"


def test_bounds() -> None:
    fair = queue(max_jobs=2)
    fair.push(job("a"))
    fair.push(job("b"))
    with pytest.raises(QueueFull, match="2 requests"):
        fair.push(job("c"))
    fair = queue(max_bytes=100)
    fair.push(job("a", prompt=(1,) * 12))
    with pytest.raises(QueueFull, match="96 of 100 bytes"):
        fair.push(job("b"))
    next_job(fair)
    fair.push(job("b"))
    fair.check()


def test_a_job_that_comes_back_has_its_old_place_whatever_the_bounds() -> None:
    fair = queue(max_jobs=3)
    places = [fair.push(job(name)) for name in "abc"]
    fair.pop(places[0])
    fair.push(job("d"))
    fair.requeue(places[0].job, places[0].order)
    fair.check()
    assert order(fair) == ["a", "b", "c", "d"]


def test_each_model_has_its_own_head() -> None:
    fair = queue()
    other = base("other", "c" * 64)
    fair.push(job("mine"))
    fair.push(job("theirs", model=other))
    assert next_job(fair, other.digest).request_id == "theirs"
    assert fair.fronts(other.digest) == []
    assert fair.models() == (BASE_DIGEST,)
    assert (fair.waiting(BASE_DIGEST), fair.waiting(other.digest)) == (1, 0)


def test_many_idle_tenants_are_forgotten() -> None:
    fair = queue()
    for at in range(30_000):
        fair.push(job("x", tenant=f"tenant-{at}"))
        next_job(fair)
    assert sum(len(counters.values) for counters in fair.counters.values()) < 20_000


def test_the_last_eighth_is_for_tenants_that_have_nothing_waiting() -> None:
    fair = queue(max_jobs=16)
    for at in range(14):
        fair.push(job(f"h{at}", tenant="heavy"))
    with pytest.raises(QueueFull):
        fair.push(job("h", tenant="heavy"))
    fair.push(job("l", tenant="light"))
    with pytest.raises(QueueFull):
        fair.push(job("l", tenant="light"))
    fair.push(job("o", tenant="other"))
    with pytest.raises(QueueFull):
        fair.push(job("t", tenant="third"))
    fair.check()


def test_a_band_is_passed_over_so_many_times_and_no_more() -> None:
    fair = queue(band_patience=4)
    for band in Band:
        for at in range(20):
            fair.push(job(f"{band.name[0]}{at}", band=band))
    served = "".join(next_job(fair).request_id[0] for _ in range(18))
    assert served == "PPPP" + "DF" + "PPPP" + "DF" + "PPPP" + "DF"


def test_the_shortest_of_a_tenant_goes_first_but_a_long_one_is_not_left_behind_for_ever() -> None:
    fair = queue(shortest_first=True)
    fair.push(job("long", sampling=Sampling(max_tokens=640)))
    fair.push(job("other", tenant="other", sampling=Sampling(max_tokens=6400)))
    for at in range(30):
        fair.push(job(f"short{at}", sampling=Sampling(max_tokens=1)))
    names = order(fair)
    assert names[:2] == ["other", "short0"], "among tenants it is the counters and arrival that count"
    assert names.index("long") == 9, "it fell behind by a place for each 64 of its tokens"


def test_how_long_a_job_would_wait() -> None:
    clock = Clock()
    fair = queue(clock=clock)
    assert fair.wait(job(), 0.0) == 0.0
    for at in range(100):
        fair.push(job(f"h{at}", tenant="heavy"))
    for _ in range(40):
        clock.now += 0.5
        next_job(fair)
    assert fair.wait(job(tenant="heavy"), 0.0) == pytest.approx(61 * 0.5, rel=0.1)
    assert fair.wait(job(tenant="light"), 0.0) == pytest.approx(2 * 0.5, rel=0.1), "it takes turns with the other"
    assert fair.wait(job(tenant=Tenant("half", weight=0.5)), 0.0) == pytest.approx(3 * 0.5, rel=0.1)
    assert fair.wait(job(tenant="light", band=Band.FLEX), 0.0) == pytest.approx(61 * 0.5, rel=0.1)
    assert fair.wait(job(tenant="heavy", band=Band.PRIORITY), 0.0) == pytest.approx(0.5, rel=0.1)
    clock.now += 30
    assert fair.wait(job(tenant="heavy"), 0.0) > 61 * 1.0, "nothing leaves any more"
    assert fair.wait(job(tenant="light"), 1e9) <= 1e9


def test_the_stride_is_what_a_job_is_expected_to_cost() -> None:
    fair = queue()
    tenant = Tenant("t", weight=2.0)
    fair.push(job("r", tenant=tenant, prompt=(1,) * 10, sampling=Sampling(max_tokens=1000)))
    (front,) = fair.fronts(BASE_DIGEST)
    assert front.stride == (10 + OUTPUT_WEIGHT * 64) / 2
    for _ in range(300):
        fair.learn(tenant, 20)
        fair.learn(Tenant("another"), 900)
    assert fair.fronts(BASE_DIGEST)[0].stride == pytest.approx((10 + OUTPUT_WEIGHT * 20) / 2)
    fair.push(job("short", tenant="a", sampling=Sampling(max_tokens=5)))
    fair.pop(fair.fronts(BASE_DIGEST)[0].place)
    assert fair.fronts(BASE_DIGEST)[0].stride == 1 + OUTPUT_WEIGHT * 5


@pytest.mark.parametrize("produced", [0, 10, 64, 200])
def test_what_was_charged_in_advance_is_made_up_for(produced: int) -> None:
    fair = queue()
    tenant = Tenant("t", weight=2.0)
    first = job("r", tenant=tenant, prompt=(1,) * 10, sampling=Sampling(max_tokens=1000))
    advance = fair.pop(fair.push(first))
    assert advance == 64
    for _ in range(produced):
        advance = fair.produced(first, 1, advance)
    at_once = fair.counter(first)
    assert at_once == (10 + OUTPUT_WEIGHT * max(64, produced)) / 2, "a counter never falls"
    fair.give_back(first, advance)
    fair.charge(tenant, Band.DEFAULT, 1000)
    assert fair.counter(first) == (10 + OUTPUT_WEIGHT * produced + 1000) / 2
    fair.check()


def test_what_is_owed_is_not_saved_up_either() -> None:
    fair = queue()
    busy, idle = job("b", tenant="busy"), job("i", tenant="idle", sampling=Sampling(max_tokens=64))
    advance = fair.pop(fair.push(idle))
    fair.push(busy)
    fair.charge(busy.tenant, Band.DEFAULT, 500)
    fair.give_back(idle, advance)
    fair.push(idle)
    assert fair.counter(idle) == fair.counter(busy) - AHEAD
    fair.charge(idle.tenant, Band.DEFAULT, 10)
    assert fair.counter(idle) == fair.counter(busy) - AHEAD + 10
    fair.check()


def test_who_returns_is_lifted_to_what_was_served_and_not_to_what_is_prepaid() -> None:
    fair = queue()
    long = job("r", tenant="heavy", sampling=Sampling(max_tokens=64))
    advances = [fair.pop(fair.push(long)) for _ in range(3)]
    waiting = fair.push(long)
    light = job("l", tenant="light")
    fair.remove(fair.push(light))
    assert fair.counter(light) == 3 - AHEAD, "three prompts"
    assert [fair.produced(long, 64, advance) for advance in advances] == [0, 0, 0]
    fair.push(light)
    assert fair.counter(light) == fair.counter(long) - AHEAD == 3 + OUTPUT_WEIGHT * 3 * 64 - AHEAD
    fair.remove(waiting)
    fair.check()


def test_seats_that_become_free_at_once_are_shared() -> None:
    fair = queue()
    for at in range(20):
        for tenant in ("a", "b"):
            fair.push(job(f"{tenant}{at}", tenant=tenant, sampling=Sampling(max_tokens=64)))
    assert [next_job(fair).tenant.id for _ in range(6)] == ["a", "b"] * 3
