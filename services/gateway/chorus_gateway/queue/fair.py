"""Fair order among tenants (Virtual Token Counter, OSDI'24), inside strict priority bands.

A tenant's counter grows with the tokens that it is served, over its weight: a prompt's tokens when the job is
dispatched, output tokens as they are produced, one output token counting as two. The tenant with the lowest counter
goes next. A tenant that returns to a band is lifted to the lowest counter of those who wait there, so that idleness is
not saved up.

A job may be aimed at some engines. Jobs of one aim share a lane, and counters are the same in all lanes, so the best of
the first ones of any set of lanes is the best of all their jobs. Nothing here waits, knows the time, or knows what an
aim means.
"""

from typing import NamedTuple

from chorus_gateway.queue.lane import ANYWHERE, Aim, Lane, Place
from chorus_gateway.values import Band, Job, Tenant

INPUT_WEIGHT = 1.0
OUTPUT_WEIGHT = 2.0
_MANY_COUNTERS = 10_000  # from here on, counters that say nothing are forgotten


class QueueFull(Exception):
    """The message says which bound was reached."""


class Front(NamedTuple):
    """The first job of a lane. Of several, the one with the lowest rank goes first."""

    rank: tuple[Band, float, int]  # band, counter of the job's tenant, order
    place: Place
    waiting: int  # jobs in the lane


class FairQueue:
    """Places of jobs for several base models, bounded by count and by the prompts' bytes."""

    def __init__(self, *, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._lanes: dict[str, dict[tuple[Band, Aim], Lane]] = {}  # by base model's digest
        self._counters: dict[Band, dict[str, float]] = {band: {} for band in Band}
        self._served = dict.fromkeys(Band, 0.0)  # counter of the tenant served last
        self._orders = 0
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def push(self, job: Job, aim: Aim = ANYWHERE) -> Place:
        """QueueFull when a bound is reached."""
        place = Place(job, self._orders, aim)
        if self._count >= self._max_jobs:
            raise QueueFull(f"{self._count} requests wait already, which is the limit")
        if self._bytes + place.size > self._max_bytes:
            raise QueueFull(f"the prompts that wait fill {self._bytes} of {self._max_bytes} bytes")
        self._orders += 1
        self._enter(place)
        return place

    def requeue(self, job: Job, order: int, aim: Aim = ANYWHERE) -> Place:
        """A job that was dispatched and came back: to its old place, whatever the bounds."""
        place = Place(job, order, aim)
        self._enter(place)
        return place

    def fronts(self, model: str) -> list[Front]:
        """Of every lane of a base model (digest), in order."""
        lanes = self._lanes.get(model, {})
        fronts = [self._front(lane, band) for (band, _), lane in lanes.items()]
        return sorted(fronts, key=lambda front: front.rank) if len(fronts) > 1 else fronts

    def pop(self, place: Place) -> None:
        """Dispatched: its prompt is charged to its tenant."""
        job = place.job
        self.remove(place)
        self.charge(job.tenant, job.band, INPUT_WEIGHT * len(job.prompt))
        self._served[job.band] = self.counter(job)

    def remove(self, place: Place) -> None:
        self._leave_lane(place)
        self._count -= 1
        self._bytes -= place.size

    def move(self, place: Place, aim: Aim) -> None:
        """To another lane, at the place that its order gives it there."""
        self._leave_lane(place)
        place.aim = aim
        self._join_lane(place)

    def charge(self, tenant: Tenant, band: Band, tokens: float) -> None:
        """`tokens` weighted as input or output; the tenant's own weight is applied here."""
        counters = self._counters[band]
        counters[tenant.id] = counters.get(tenant.id, self._served[band]) + tokens / tenant.weight

    def counter(self, job: Job) -> float:
        """Of the job's tenant, which must wait in the job's band."""
        return self._counters[job.band][job.tenant.id]

    def waiting(self, model: str) -> int:
        return sum(lane.waiting for lane in self._lanes.get(model, {}).values())

    def aims(self, model: str) -> set[Aim]:
        """Those that jobs wait with."""
        return {aim for _, aim in self._lanes.get(model, {})}

    def models(self) -> tuple[str, ...]:
        """Digests of the base models that jobs wait for."""
        return tuple(self._lanes)

    def places(self, model: str) -> list[Place]:
        """All that wait for a base model, in no order."""
        lanes = self._lanes.get(model, {}).values()
        return [place for lane in lanes for jobs in lane.jobs.values() for place in jobs]

    def check(self) -> None:
        """What is counted is what waits, and every tenant that waits has its heap entry and its counter."""
        places = [place for model in self._lanes for place in self.places(model)]
        assert self._count == len(places) == sum(self.waiting(model) for model in self._lanes)
        assert self._bytes == sum(place.size for place in places)
        for (band, aim), lane in [entry for lanes in self._lanes.values() for entry in lanes.items()]:
            assert lane.jobs.keys() == lane.keys.keys()
            assert all(tenant in self._counters[band] for tenant in lane.jobs)
            assert all(place.aim == aim for jobs in lane.jobs.values() for place in jobs)
            assert {(key, tenant) for tenant, key in lane.keys.items()} <= set(lane.heap)

    def _enter(self, place: Place) -> None:
        self._lift(place.job)
        self._join_lane(place)
        self._count += 1
        self._bytes += place.size

    def _join_lane(self, place: Place) -> None:
        job = place.job
        lanes = self._lanes.setdefault(job.model.base.digest, {})
        lanes.setdefault((job.band, place.aim), Lane()).add(place, self.counter(job))

    def _leave_lane(self, place: Place) -> None:
        job = place.job
        lanes = self._lanes[job.model.base.digest]
        lane = lanes[job.band, place.aim]
        lane.remove(place)
        if not lane.waiting:
            del lanes[job.band, place.aim]
        if not lanes:
            del self._lanes[job.model.base.digest]

    def _lift(self, job: Job) -> None:
        band, counters = job.band, self._counters[job.band]
        lanes = [lane for lanes in self._lanes.values() for (other, _), lane in lanes.items() if other == band]
        if any(job.tenant.id in lane.jobs for lane in lanes):
            return
        waiting = [counters[lane.first(counters).job.tenant.id] for lane in lanes]
        lowest = min(waiting, default=self._served[band])
        if len(counters) > _MANY_COUNTERS:
            self._forget_idle(band, lowest)
        counters[job.tenant.id] = max(counters.get(job.tenant.id, 0.0), lowest)

    def _forget_idle(self, band: Band, lowest: float) -> None:
        """A counter that a return would lift anyway says nothing."""
        lanes = [lane for lanes in self._lanes.values() for (other, _), lane in lanes.items() if other == band]
        waiting = {tenant for lane in lanes for tenant in lane.jobs}
        counters = self._counters[band]
        idle = [tenant for tenant, counter in counters.items() if counter <= lowest and tenant not in waiting]
        for tenant in idle:
            del counters[tenant]

    def _front(self, lane: Lane, band: Band) -> Front:
        counters = self._counters[band]
        place = lane.first(counters)
        return Front((band, counters[place.job.tenant.id], place.order), place, lane.waiting)
