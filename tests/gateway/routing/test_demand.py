"""What the adapter store learns of adapters' use."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from chorus_gateway import redis_url
from chorus_gateway.background import running
from chorus_gateway.routing.demand import Count, Demand, DemandReports, Entry
from tests.gateway.support.redis_server import RedisServer

BASE = "b" * 64
ONE, TWO = (BASE, "1" * 64), (BASE, "2" * 64)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def counting() -> tuple[Demand, Clock]:
    clock = Clock()
    return Demand(wall=clock, monotonic=clock), clock


def told(entries: list[Entry]) -> dict[tuple[int, tuple[str, str]], tuple[int, int]]:
    return {(entry.window, entry.subject): (entry.count.arrivals, entry.count.busy) for entry in entries}


def test_arrivals_and_time_in_flight() -> None:
    demand, clock = counting()
    demand.begin(ONE)
    clock.seconds += 1
    demand.begin(ONE)
    demand.begin(TWO)
    clock.seconds += 0.5
    demand.end(TWO)
    clock.seconds += 0.5
    assert told(demand.take()) == {(200_000, ONE): (2, 3000), (200_000, TWO): (1, 500)}
    assert demand.take() == [], "it is told once"
    clock.seconds += 5
    demand.end(ONE)
    assert told(demand.take()) == {(200_001, ONE): (0, 10_000)}
    assert demand.in_flight == 1


def test_a_report_is_bounded_and_the_oldest_goes_first() -> None:
    demand, clock = counting()
    for at in range(30):
        demand.begin((BASE, f"{at:064}"))
        demand.end((BASE, f"{at:064}"))
        clock.seconds += 1
    windows = [entry.window for entry in demand.take(20)]
    assert len(windows) == 20
    assert windows == sorted(windows)
    assert len(demand.take(20)) == 10


def test_what_was_not_told_is_kept_for_a_while() -> None:
    demand, clock = counting()
    demand.begin(ONE)
    demand.end(ONE)
    demand.give_back(demand.take())
    demand.begin(ONE)
    clock.seconds += 6
    demand.give_back(demand.take())
    taken = demand.take()
    assert told(taken) == {(200_000, ONE): (2, 0), (200_001, ONE): (0, 6000)}
    demand.end(ONE)
    clock.seconds += 26
    demand.give_back(taken)
    assert told(demand.take()) == {(200_001, ONE): (0, 6000)}, "nobody reads what is older"


def test_what_is_kept_is_bounded() -> None:
    demand, _ = counting()
    for window in range(3):
        entries = [Entry(200_000 + window, (BASE, f"{at:064}"), Count(1, 1)) for at in range(9_000)]
        demand.give_back(entries)
    assert len(demand.take(100_000)) == 18_000


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "wait", "take", "lose"]), st.sampled_from([ONE, TWO]))))
def test_nothing_is_lost_and_nothing_is_told_twice(steps: list[tuple[str, tuple[str, str]]]) -> None:
    demand, clock = counting()
    begun, busy, arrivals, told_busy, told_arrivals = {ONE: 0, TWO: 0}, 0, 0, 0, 0
    for act, subject in [*steps, ("take", ONE)]:
        if act == "begin":
            demand.begin(subject)
            begun[subject] += 1
            arrivals += 1
        elif act == "end" and begun[subject]:
            demand.end(subject)
            begun[subject] -= 1
        elif act == "wait":
            clock.seconds += 0.25
            busy += 250 * sum(begun.values())
        elif act == "lose":
            demand.give_back(demand.take())
        elif act == "take":
            entries = demand.take()
            told_busy += sum(entry.count.busy for entry in entries)
            told_arrivals += sum(entry.count.arrivals for entry in entries)
    assert demand.in_flight == sum(begun.values())
    assert (told_arrivals, told_busy) == (arrivals, busy)


async def test_it_is_told_in_redis(redis: Redis) -> None:
    demand, clock = counting()
    reports = DemandReports(demand, redis)
    demand.begin(ONE)
    clock.seconds += 2
    await reports.report()
    demand.begin(TWO)
    clock.seconds += 1
    await reports.report()
    key = f"chorus:demand:{{{BASE}}}:200000"
    assert await redis.hgetall(key) == {
        f"a:{ONE[1]}": "1",
        f"b:{ONE[1]}": "3000",
        f"a:{TWO[1]}": "1",
        f"b:{TWO[1]}": "1000",
    }
    assert 0 < await redis.ttl(key) <= 120


async def test_a_short_absence_of_redis_loses_nothing(own_redis_server: RedisServer) -> None:
    demand, clock = counting()
    redis: Redis = redis_url.connect(own_redis_server.url, 0.5)
    reports = DemandReports(demand, redis)
    own_redis_server.stop()
    demand.begin(ONE)
    for _ in range(3):
        clock.seconds += 1
        await reports.report()
    own_redis_server.start()
    clock.seconds += 1
    await reports.report()
    assert await redis.hget(f"chorus:demand:{{{BASE}}}:200000", f"b:{ONE[1]}") == "4000"
    await redis.aclose()


async def test_it_reports_by_itself_and_for_the_last_time_at_the_end(redis: Redis) -> None:
    demand = Demand()
    reports = DemandReports(demand, redis, interval=0.01)
    async with running(reports.run(), lambda: None):
        demand.begin(ONE)
        for _ in range(6000):
            await asyncio.sleep(0.01)
            if await redis.keys("chorus:demand:*"):
                break
        demand.begin(TWO)
        demand.end(ONE)
        demand.end(TWO)
    keys = await redis.keys("chorus:demand:*")
    arrivals = [await redis.hget(key, f"a:{TWO[1]}") for key in keys]
    assert sum(int(count or 0) for count in arrivals) == 1
    assert demand.take() == [], "nothing is left, and nothing is told any more"
