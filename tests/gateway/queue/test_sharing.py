"""Several workers' queues that share their counters, and what becomes of fairness when they cannot."""

import logging
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge
from redis.exceptions import ConnectionError as RedisConnectionError

from chorus_gateway.queue.counters import AHEAD, Agreed, Entry
from chorus_gateway.queue.fair import FairQueue
from chorus_gateway.queue.sharing import Ledger, RedisLedger, Sharing
from chorus_gateway.values import Band, Tenant
from tests.gateway.queue.ledgers import MemoryLedger, MemoryLedgers
from tests.gateway.support.redis_server import RedisServer, redis_client
from tests.gateway.support.values import BASE_DIGEST, job

DEFAULT = Band.DEFAULT


class Worker:
    def __init__(self, ledger: Ledger) -> None:
        self.queue = FairQueue(max_jobs=1000, max_bytes=1 << 20)
        self.heard = 0
        self.gauge = Gauge("fairness_degraded", "", registry=None)
        self.sharing = Sharing(self.queue, ledger, changed=self._hear, degraded=self.gauge, interval=0.0)

    def _hear(self) -> None:
        self.heard += 1

    def serve(self) -> str:
        front = self.queue.fronts(BASE_DIGEST)[0]
        self.queue.pop(front.place)
        return front.place.job.tenant.id

    def value(self, tenant: str) -> float:
        return self.queue.counters[DEFAULT].values[tenant]


class FlakyLedger(MemoryLedger):
    """`away`: "before" it has counted, or "after"; "" is there."""

    away = ""

    async def share(
        self, band: Band, number: int, lowest: float | None, served: float, batch: Mapping[str, Entry]
    ) -> Agreed:
        if self.away == "before":
            raise RedisConnectionError("gone")
        agreed = await super().share(band, number, lowest, served, batch)
        if self.away == "after":
            raise RedisConnectionError("gone")
        return agreed


@pytest.fixture
def ledgers() -> MemoryLedgers:
    return MemoryLedgers()


async def test_what_one_worker_serves_counts_at_the_others(ledgers: MemoryLedgers) -> None:
    here, there = Worker(ledgers.worker("here")), Worker(ledgers.worker("there"))
    there.queue.push(job("r", tenant="heavy", prompt=(1,) * 100))
    there.queue.push(job("r", tenant="heavy"))
    here.queue.push(job("h", tenant="heavy"))
    here.queue.push(job("l", tenant="light"))
    for worker in (here, there, here):
        await worker.sharing.share()
    there.serve()
    await there.sharing.share()
    await here.sharing.share()
    assert here.heard == 3
    assert here.serve() == "light", "the heavy one was served at the other worker"


async def test_who_returns_here_is_lifted_to_who_waits_there(ledgers: MemoryLedgers) -> None:
    here, there = Worker(ledgers.worker("here")), Worker(ledgers.worker("there"))
    there.queue.charge(Tenant("heavy"), DEFAULT, 1000.0)
    there.queue.push(job("r", tenant="heavy"))
    await there.sharing.share()
    here.queue.push(job("l", tenant="light"))
    await here.sharing.share()
    assert here.value("light") == 1000.0 - AHEAD


async def test_nothing_is_said_while_nothing_happens(ledgers: MemoryLedgers) -> None:
    worker = Worker(ledgers.worker("here"))
    await worker.sharing.share()
    assert ledgers.workers == {}
    place = worker.queue.push(job())
    await worker.sharing.share()
    worker.queue.remove(place)
    await worker.sharing.share()
    assert ledgers.workers[DEFAULT, "here"] == (2, None), "the others hear that nobody waits here any more"
    await worker.sharing.share()
    assert ledgers.workers[DEFAULT, "here"] == (2, None)


@pytest.mark.parametrize("away", ["before", "after"])
async def test_what_was_not_answered_is_counted_once(
    ledgers: MemoryLedgers, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ledger = FlakyLedger(ledgers, "here")
    worker = Worker(ledger)
    worker.queue.push(job("r", tenant="t"))
    ledger.away = away
    worker.queue.charge(Tenant("t"), DEFAULT, 10.0)
    for _ in range(3):
        await worker.sharing.share()
        worker.queue.charge(Tenant("t"), DEFAULT, 1.0)
    assert worker.value("t") == 13.0, "alone it goes on by itself"
    assert worker.gauge._value.get() == 1
    ledger.away = ""
    for _ in range(2):
        await worker.sharing.share()
    assert ledgers.counters[DEFAULT, "t"] == worker.value("t") == 13.0
    assert worker.gauge._value.get() == 0
    assert [record.message.split(":")[0] for record in caplog.records] == ["Redis is away", "Redis is back"]


async def test_a_redis_that_comes_back_empty_is_told_what_workers_know(own_redis_server: RedisServer) -> None:
    async with redis_client(own_redis_server.url) as redis:
        here, there = (Worker(RedisLedger(redis, name)) for name in ("here", "there"))
        workers = (here, there)
        for worker in workers:
            worker.queue.push(job("r", tenant="t"))
            worker.queue.charge(Tenant("t"), DEFAULT, 100.0)
            await worker.sharing.share()
        own_redis_server.stop()
        for worker in workers:
            worker.queue.charge(Tenant("t"), DEFAULT, 10.0)
            await worker.sharing.share()
            assert worker.gauge._value.get() == 1
        own_redis_server.start()
        for worker in (*workers, *workers):
            await worker.sharing.share()
        assert here.value("t") == there.value("t")
        assert 210.0 <= here.value("t") <= 220.0, "what those served meanwhile who knew less may be missing"
        assert here.gauge._value.get() == 0


async def test_very_many_tenants_that_wait_are_all_heard_of(ledgers: MemoryLedgers) -> None:
    here, there = Worker(ledgers.worker("here")), Worker(ledgers.worker("there"))
    names = [f"t{at}" for at in range(900)] + [f"u{at}" for at in range(900)]
    big = FairQueue(max_jobs=4000, max_bytes=1 << 20)
    sharing = Sharing(big, ledgers.worker("big"), changed=lambda: None, degraded=here.gauge)
    for name in names:
        big.push(job("r", tenant=name))
        there.queue.charge(Tenant(name), DEFAULT, 7.0)
    for _ in range(2):
        await there.sharing.share()
    for _ in range(6):
        await sharing.share()
    assert all(big.counters[DEFAULT].values[name] == 7.0 for name in names)


@given(
    acts=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b"]), st.integers(0, 50)), max_size=80),
)
async def test_a_worker_is_wrong_by_what_the_others_served_since(acts: list[tuple[int, str, int]]) -> None:
    """The bound: its counter is never above the truth, and below it by no more than was charged elsewhere and is not
    told yet, or was told after its own last batch. 0 tokens: the worker has its batch."""
    ledgers = MemoryLedgers()
    workers = [Worker(ledgers.worker(str(at))) for at in range(4)]
    truth = {"a": 0.0, "b": 0.0}
    for worker in workers:
        for tenant in truth:
            worker.queue.push(job("r", tenant=tenant))
    unheard = [dict.fromkeys(truth, 0.0) for _ in workers]  # of each worker: charged elsewhere since its last batch
    untold = [dict.fromkeys(truth, 0.0) for _ in workers]  # charged here since its last batch
    for at, tenant, tokens in acts:
        if tokens:
            workers[at].queue.charge(Tenant(tenant), DEFAULT, tokens)
            truth[tenant] += tokens
            untold[at][tenant] += tokens
            for other in range(4):
                unheard[other][tenant] += tokens * (other != at)
        else:
            await workers[at].sharing.share()
            untold[at] = dict.fromkeys(truth, 0.0)
            for name in truth:
                unheard[at][name] = sum(each[name] for other, each in enumerate(untold) if other != at)
        for worker, missing in zip(workers, unheard, strict=True):
            for name, value in truth.items():
                assert value - missing[name] - 1e-9 <= worker.value(name) <= value + 1e-9
