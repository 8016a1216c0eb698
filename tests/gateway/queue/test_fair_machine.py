"""The queue's laws under any sequence of arrivals, dispatches, cancels, returns and charges."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from chorus_gateway.queue.counters import Agreed
from chorus_gateway.queue.fair import FairQueue, QueueRules
from chorus_gateway.queue.lane import ANYWHERE, Aim, Place
from chorus_gateway.queue.room import QueueFull
from chorus_gateway.values import Band, BaseModel, Tenant
from tests.gateway.support.values import base, job
from tests.support.often import often

TENANTS = [Tenant("a"), Tenant("b", weight=2.0), Tenant("c", weight=0.5)]
AIMS = [ANYWHERE, Aim(frozenset("a")), Aim(frozenset("b")), Aim(frozenset("ab")), Aim(frozenset("a"), firm=True)]
MODELS = [base("one", "1" * 64), base("two", "2" * 64)]


class FairQueueMachine(RuleBasedStateMachine):
    """Beside the queue stands a plain list of what waits, sorted anew for every question."""

    dispatched: Bundle[Place] = Bundle("dispatched")
    shortest_first = False

    def __init__(self) -> None:
        super().__init__()
        rules = QueueRules(band_patience=1 << 30, shortest_first=self.shortest_first)
        self.queue = FairQueue(max_jobs=16, max_bytes=480, rules=rules)
        for counters in self.queue.counters.values():
            counters.shared = True
        self.told: dict[Band, dict[str, float]] = {band: {} for band in Band}  # what the others have heard, by tenant
        self.served: dict[Band, dict[str, float]] = {band: defaultdict(float) for band in Band}
        self.waiting: list[Place] = []

    @rule(
        tenant=st.sampled_from(TENANTS),
        model=st.sampled_from(MODELS),
        band=st.sampled_from(list(Band)),
        length=st.integers(1, 8),
        aim=st.sampled_from(AIMS),
    )
    def arrives(self, tenant: Tenant, model: BaseModel, band: Band, length: int, aim: Aim) -> None:
        arriving = job("r", tenant=tenant, model=model, band=band, prompt=(1,) * length)
        size = 8 * (length + sum(len(place.job.prompt) for place in self.waiting))
        first = all(place.job.tenant != tenant for place in self.waiting)
        full = len(self.waiting) >= (16 if first else 14) or size > (480 if first else 420)
        try:
            self.waiting.append(self.queue.push(arriving, aim))
        except QueueFull:
            assert full
        else:
            assert not full

    @rule(target=dispatched, model=st.sampled_from(MODELS), aims=st.sets(st.sampled_from(AIMS)))
    def is_dispatched(self, model: BaseModel, aims: set[Aim]) -> Place | MultipleResults[Place]:
        """The best of all jobs that may go to one engine: those of some aims."""
        fronts = self.queue.fronts(model.digest)
        assert self.queue.aims(model.digest) == {front.place.aim for front in fronts}
        place = next((front.place for front in fronts if front.place.aim in aims), None)
        assert place is self.best(model.digest, aims)
        if place is None:
            return multiple()
        charged = len(place.job.prompt) + 2 * self.queue.pop(place)
        self.waiting.remove(place)
        self.served[place.job.band][place.job.tenant.id] += charged / place.job.tenant.weight
        return place

    @rule(place=consumes(dispatched), aim=st.sampled_from(AIMS))
    def comes_back(self, place: Place, aim: Aim) -> None:
        self.waiting.append(self.queue.requeue(place.job, place.order, aim))

    @rule(at=st.integers(0, 20), aim=st.sampled_from(AIMS))
    def is_aimed_elsewhere(self, at: int, aim: Aim) -> None:
        if at < len(self.waiting):
            self.queue.move(self.waiting[at], aim)
            assert self.waiting[at].aim == aim

    @rule(at=st.integers(0, 20))
    def is_cancelled(self, at: int) -> None:
        if at < len(self.waiting):
            self.queue.remove(self.waiting.pop(at))

    @rule(tenant=st.sampled_from(TENANTS), band=st.sampled_from(list(Band)), tokens=st.integers(1, 20))
    def is_served(self, tenant: Tenant, band: Band, tokens: int) -> None:
        self.queue.charge(tenant, band, tokens)
        self.served[band][tenant.id] += tokens / tenant.weight

    @rule(band=st.sampled_from(list(Band)), most=st.integers(1, 4), more=st.integers(0, 30), answered=st.booleans())
    def is_shared(self, band: Band, most: int, more: int, answered: bool) -> None:
        """Other workers have served every tenant `more` meanwhile. What nobody answered is told again."""
        counters = self.queue.counters[band]
        batch = counters.take(self.queue.tenants(band), most)
        assert len(batch) <= max(most, 3)
        assert counters.take((), most).items() <= batch.items(), "as it was, until it is answered"
        before = dict(counters.values)
        if not answered:
            return
        for tenant, entry in batch.items():
            self.told[band][tenant] = self.told[band].get(tenant, 0.0) + entry.delta
        totals = {tenant: entry.known + entry.delta + more for tenant, entry in batch.items()}
        counters.agree(Agreed(totals, None, counters.served))
        for tenant, total in totals.items():
            unheard = self.served[band][tenant] - self.told[band][tenant]
            assert abs(counters.values[tenant] - max(before[tenant], total + unheard)) < 1e-6

    @invariant()
    def laws_hold(self) -> None:
        self.queue.check()
        counts: dict[str, int] = defaultdict(int)
        for place in self.waiting:
            counts[place.job.model.base.digest] += 1
        assert len(self.queue) == len(self.waiting)
        assert {model: self.queue.waiting(model) for model in self.queue.models()} == counts
        for model in counts:
            fronts = self.queue.fronts(model)
            assert sum(front.waiting for front in fronts) == counts[model]
            assert [front.rank for front in fronts] == sorted(front.rank for front in fronts)

    def best(self, model: str, aims: set[Aim]) -> Place | None:
        mine = [place for place in self.waiting if place.job.model.base.digest == model and place.aim in aims]
        firsts: dict[tuple[Band, str], Place] = {}
        for place in sorted(mine, key=lambda place: (place.rank, place.order)):
            firsts.setdefault((place.job.band, place.job.tenant.id), place)
        key = lambda place: (place.job.band, self.queue.counter(place.job), place.order)  # noqa: E731
        return min(firsts.values(), key=key, default=None)


FairQueueMachine.TestCase.settings = settings(max_examples=often(60), stateful_step_count=40, deadline=None)
TestFairQueue = FairQueueMachine.TestCase


class ShortestFirstMachine(FairQueueMachine):
    shortest_first = True


ShortestFirstMachine.TestCase.settings = settings(max_examples=often(30), stateful_step_count=40, deadline=None)
TestShortestFirst = ShortestFirstMachine.TestCase
