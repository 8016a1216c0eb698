"""Fair order among tenants (Virtual Token Counter, OSDI'24), inside priority bands.

A tenant's counter grows with the tokens that it is served, over its weight: a prompt's tokens when the job is
dispatched, output tokens as they are produced, one output token counting as two. As much output as the tenant's jobs
have on average is charged in advance at dispatch, and made up for as it is produced: else all seats that become free
before the first tokens come would go to one tenant. The tenant with the lowest counter goes next. A tenant that returns
to a band is lifted to what was served to the lowest of those who wait there, at whichever gateway worker, so that
idleness is not saved up. Counters are those of all workers where `sharing` carries them around.

A job may be aimed at some engines. Jobs of one aim share a lane, and counters are the same in all lanes, so the best of
the first ones of any set of lanes is the best of all their jobs. Nothing here waits, or knows what an aim means.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from chorus_gateway.queue.counters import Counters
from chorus_gateway.queue.lane import ANYWHERE, Aim, Lane, Place
from chorus_gateway.queue.pace import Pace
from chorus_gateway.queue.patience import Patience
from chorus_gateway.queue.room import Room
from chorus_gateway.values import Band, Job, Tenant

INPUT_WEIGHT = 1.0
OUTPUT_WEIGHT = 2.0
_FIRST_GUESS, _LEARNING = 64.0, 1 / 16  # output tokens of a job, and how much each one that ends changes the guess
_MANY_GUESSES = 10_000
_SIZE_TILT = 1 / 64  # places that a job falls behind for each of its tokens, where the shortest goes first


class Front(NamedTuple):
    """The first job of a lane. Of several, the one with the lowest rank goes first."""

    rank: tuple[int, float, int]  # band, counter of the job's tenant, order
    place: Place
    waiting: int  # jobs in the lane
    stride: float = 0.0  # by how much the job is expected to let its tenant's counter grow
    alike: int = 1  # jobs of the same tenant in the lane
    aged: bool = False  # its band was passed over too often: the rank's band is above all


@dataclass(frozen=True, slots=True)
class QueueRules:
    band_patience: int = 16  # jobs of higher bands that may go before a band that waits
    shortest_first: bool = False  # inside a tenant's turn; a job falls behind by a place for every 64 tokens


class FairQueue:
    """Places of jobs for several base models, bounded by count and by the prompts' bytes."""

    def __init__(
        self,
        *,
        max_jobs: int,
        max_bytes: int,
        rules: QueueRules = QueueRules(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = {band: Counters() for band in Band}
        self._room = Room(max_jobs, max_bytes)
        self._rules = rules
        self._clock = clock
        self._lanes: dict[str, dict[tuple[Band, Aim], Lane]] = {}  # by base model's digest
        self._patience = Patience(rules.band_patience)
        self._paces: dict[str, Pace] = {}  # by base model
        self._guesses: dict[str, float] = {}  # output tokens of a job, by tenant
        self._orders = 0

    def __len__(self) -> int:
        return self._room.count

    def push(self, job: Job, aim: Aim = ANYWHERE) -> Place:
        """QueueFull when a bound is reached."""
        place = self._place(job, self._orders, aim)
        self._room.admit(place)
        return self._arrive(place)

    def follow(self, job: Job, aim: Aim = ANYWHERE) -> Place:
        """A further job of a request that was let in: behind its tenant's others, whatever the bounds."""
        return self._arrive(self._place(job, self._orders, aim))

    def requeue(self, job: Job, order: int, aim: Aim = ANYWHERE) -> Place:
        """A job that was dispatched and came back: to its old place, whatever the bounds."""
        place = self._place(job, order, aim)
        self._enter(place)
        return place

    def fronts(self, model: str) -> list[Front]:
        """Of every lane of a base model (digest), in order."""
        lanes = self._lanes.get(model, {})
        fronts = [self._front(lane, band) for (band, _), lane in lanes.items()]
        if len(fronts) > 1:
            fronts.sort(key=lambda front: front.rank)
            if fronts[0].rank[0] != fronts[-1].rank[0]:
                self._raise_aged(model, fronts)
        return fronts

    def pop(self, place: Place) -> float:
        """Dispatched: its prompt is charged to its tenant, and as many output tokens in advance as it answers."""
        job = place.job
        model = job.model.base.digest
        self._patience.dispatched(model, job.band)
        self._paces[model].dispatched()
        self.remove(place)
        advance = self._expected(job)
        self.charge(job.tenant, job.band, INPUT_WEIGHT * len(job.prompt))
        if advance:
            self.counters[job.band].prepay(job.tenant.id, OUTPUT_WEIGHT * advance / job.tenant.weight)
        self.counters[job.band].served = self.counter(job)
        return advance

    def remove(self, place: Place) -> None:
        self._leave_lane(place)
        self._room.leave(place)

    def move(self, place: Place, aim: Aim) -> None:
        """To another lane, at the place that its order gives it there."""
        job = place.job
        lanes = self._lanes[job.model.base.digest]
        self._take_out(lanes, place)
        place.aim = aim
        lanes.setdefault((job.band, aim), Lane()).add(place, self.counter(job))

    def charge(self, tenant: Tenant, band: Band, tokens: float) -> None:
        """`tokens` weighted as input or output; the tenant's own weight is applied here."""
        self.counters[band].charge(tenant.id, tokens / tenant.weight)

    def produced(self, job: Job, output_tokens: float, advance: float) -> float:
        """`advance` of them were charged already; what is left of that."""
        if advance:
            covered = min(advance, output_tokens)
            self.counters[job.band].deliver(job.tenant.id, OUTPUT_WEIGHT * covered / job.tenant.weight)
            advance, output_tokens = advance - covered, output_tokens - covered
        if output_tokens:
            self.charge(job.tenant, job.band, OUTPUT_WEIGHT * output_tokens)
        return advance

    def give_back(self, job: Job, advance: float) -> None:
        """The job has left its engine, and so many output tokens were charged and not produced."""
        if advance:
            self.counters[job.band].give_back(job.tenant.id, OUTPUT_WEIGHT * advance / job.tenant.weight)

    def learn(self, tenant: Tenant, output_tokens: int) -> None:
        """One of its jobs has ended with as many."""
        guess = self._guesses.get(tenant.id, _FIRST_GUESS)
        if len(self._guesses) > _MANY_GUESSES:
            self._guesses.clear()
        self._guesses[tenant.id] = guess + _LEARNING * (output_tokens - guess)

    def counter(self, job: Job) -> float:
        """Of the job's tenant, which must wait in the job's band."""
        return self.counters[job.band].values[job.tenant.id]

    def wait(self, job: Job, enough: float) -> float:
        """Seconds that a job which comes now is expected to wait, by the pace of the last half minute and its tenant's
        share of it. A bound that is not above `enough` may be the answer too."""
        model = job.model.base.digest
        pace = self._paces.get(model)
        if pace is None or model not in self._lanes:
            return 0.0
        most = pace.seconds(self.waiting(model))
        return most if most <= enough else pace.seconds(self._ahead(job))

    def waiting(self, model: str) -> int:
        return sum(lane.waiting for lane in self._lanes.get(model, {}).values())

    def aims(self, model: str) -> set[Aim]:
        """Those that jobs wait with."""
        return {aim for _, aim in self._lanes.get(model, {})}

    def models(self) -> tuple[str, ...]:
        """Digests of the base models that jobs wait for."""
        return tuple(self._lanes)

    def tenants(self, band: Band) -> tuple[str, ...]:
        """Those that wait in a band, for whatever model."""
        return self._room.tenants(band)

    def lowest(self, band: Band) -> float | None:
        """Of the tenants that go next in a band, what was served to the lowest."""
        counters = self.counters[band]
        lanes = (lane for lanes in self._lanes.values() for (other, _), lane in lanes.items() if other is band)
        return min((counters.served_to(lane.first(counters.values).job.tenant.id) for lane in lanes), default=None)

    def places(self, model: str) -> list[Place]:
        """All that wait for a base model, in no order."""
        lanes = self._lanes.get(model, {}).values()
        return [place for lane in lanes for jobs in lane.jobs.values() for place in jobs]

    def check(self) -> None:
        """What is counted is what waits, and every tenant that waits has its heap entry and its counter."""
        places = [place for model in self._lanes for place in self.places(model)]
        self._room.check(places)
        self._patience.check({(place.job.model.base.digest, place.job.band) for place in places})
        for (band, aim), lane in [entry for lanes in self._lanes.values() for entry in lanes.items()]:
            counters = self.counters[band]
            counters.check()
            assert lane.waiting == sum(map(len, lane.jobs.values()))
            assert lane.jobs.keys() == lane.keys.keys()
            assert all(tenant in counters.values for tenant in lane.jobs)
            assert all(place.aim == aim for jobs in lane.jobs.values() for place in jobs)
            assert all(jobs == sorted(jobs, key=lambda each: (each.rank, each.order)) for jobs in lane.jobs.values())
            assert {(key, tenant) for tenant, key in lane.keys.items()} <= set(lane.heap)

    def _place(self, job: Job, order: int, aim: Aim) -> Place:
        size = len(job.prompt) + job.sampling.max_tokens if self._rules.shortest_first else 0
        return Place(job, order, aim, order + size * _SIZE_TILT)

    def _arrive(self, place: Place) -> Place:
        self._orders += 1
        self._enter(place)
        return place

    def _enter(self, place: Place) -> None:
        job = place.job
        counters, model = self.counters[job.band], job.model.base.digest
        if not self._room.waits(job.tenant.id, job.band):
            lowest = self.lowest(job.band)
            counters.forget(counters.served if lowest is None else lowest, self.tenants(job.band))
            counters.lift(job.tenant.id, lowest)
        self._room.enter(place)
        self._lanes.setdefault(model, {}).setdefault((job.band, place.aim), Lane()).add(place, self.counter(job))
        self._patience.waits(model, job.band)
        if model not in self._paces:
            self._paces[model] = Pace(self._clock)
        self._paces[model].waits()

    def _leave_lane(self, place: Place) -> None:
        model, band = place.job.model.base.digest, place.job.band
        lanes = self._lanes[model]
        self._take_out(lanes, place)
        if not any(other is band for other, _ in lanes):
            self._patience.emptied(model, band)
        if not lanes:
            self._paces[model].emptied()
            del self._lanes[model]

    @staticmethod
    def _take_out(lanes: dict[tuple[Band, Aim], Lane], place: Place) -> None:
        key = (place.job.band, place.aim)
        lanes[key].remove(place)
        if not lanes[key].waiting:
            del lanes[key]

    def _expected(self, job: Job) -> float:
        """Output tokens."""
        return min(self._guesses.get(job.tenant.id, _FIRST_GUESS), job.most_tokens)

    def _front(self, lane: Lane, band: Band) -> Front:
        values = self.counters[band].values
        place = lane.first(values)
        job = place.job
        stride = (INPUT_WEIGHT * len(job.prompt) + OUTPUT_WEIGHT * self._expected(job)) / job.tenant.weight
        alike = len(lane.jobs[job.tenant.id])
        return Front((band, values[job.tenant.id], place.order), place, lane.waiting, stride, alike)

    def _raise_aged(self, model: str, fronts: list[Front]) -> None:
        """The first of each band that was passed over too often goes before all."""
        for band in {front.place.job.band for front in fronts}:
            if self._patience.over(model, band):
                at = next(at for at, front in enumerate(fronts) if front.place.job.band is band)
                fronts[at] = fronts[at]._replace(rank=(0, *fronts[at].rank[1:]), aged=True)
        fronts.sort(key=lambda front: front.rank)

    def _ahead(self, job: Job) -> float:
        """Jobs that are expected to be dispatched before one that comes now: all of higher bands, its tenant's own, and
        of every other tenant in its band as many as its weight lets go meanwhile."""
        ahead, own, others = 0.0, 0, list[tuple[float, int]]()
        for band, jobs in self._waiting_by_tenant(job.model.base.digest):
            if band < job.band:
                ahead += len(jobs)
            elif band is job.band and jobs[0].job.tenant.id == job.tenant.id:
                own += len(jobs)
            elif band is job.band:
                others.append((jobs[0].job.tenant.weight, len(jobs)))
        turns = (own + 1) / job.tenant.weight
        return ahead + own + sum(min(weight * turns, count) for weight, count in others)

    def _waiting_by_tenant(self, model: str) -> Iterator[tuple[Band, list[Place]]]:
        for (band, _), lane in self._lanes.get(model, {}).items():
            for jobs in lane.jobs.values():
                yield band, jobs
