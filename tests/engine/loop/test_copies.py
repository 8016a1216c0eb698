"""A span of host memory is nobody else's while a slot may be filled from it, whoever still waits for what."""

import pytest

from chorus_engine.adapters import AdapterSupply, HostCache
from chorus_engine.adapters.arena import ALIGNMENT
from chorus_engine.adapters.eviction import Demand
from chorus_engine.core.errors import AdapterError
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.scheduler import Scheduler
from tests.engine.loop.bench import CAPACITY, footprint, request, shape


class Copies:
    """Scheduler and supply by hand; host memory has room for one adapter, and a copy ends when the test says."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(CAPACITY)
        self.cache = HostCache(ALIGNMENT, Demand(), self.scheduler.awaits_adapter, self.scheduler.adapter_evicted)
        self.supply = AdapterSupply(
            self.cache,
            start=lambda digest, urgent: None,
            hasten=lambda digest: None,
            priority=self.scheduler.priority,
            shape=shape,
        )
        self.answers: list[int | AdapterError] = []
        self.now = 0.0

    def ask(self, digest: str) -> None:
        """A request comes, and its adapter's fetch asks for room."""
        self.scheduler.add(request(digest, adapter=digest))
        for wanted in self.scheduler.wanted_adapters():
            self.supply.want(wanted)
        self.supply.pump()
        self.supply.room(footprint(digest), 10, self.answers.append)

    def step(self) -> StepPlan:
        self.supply.pump()
        self.now += 1.0
        plan = self.scheduler.schedule(self.now)
        assert plan is not None
        for load in plan.load:
            self.cache.get(load.digest)
        return plan

    def commit(self, plan: StepPlan, *loaded: int) -> None:
        self.scheduler.commit(plan, StepResult(plan.step, ((),) * len(plan.rows), loaded), self.now)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_copy_under_way_keeps_its_span(cancelled: bool) -> None:
    copies = Copies()
    copies.ask("one")
    assert copies.answers == [0]
    copies.scheduler.adapter_fetched(copies.supply.arrived("one"))
    plan = copies.step()
    (load,) = plan.load
    if cancelled:
        copies.scheduler.cancel("one")
    copies.ask("two")
    copies.commit(plan)
    copies.commit(copies.step())
    assert copies.answers == [0], "the copy goes on"
    assert "one" in copies.cache
    copies.commit(copies.step(), load.slot)
    copies.supply.pump()
    assert copies.answers == [0, 0], "the copy is done, and its span is the next one's"
    assert "one" not in copies.cache
    copies.supply.check()
