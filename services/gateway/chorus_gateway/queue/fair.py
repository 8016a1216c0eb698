"""Fair order among tenants (Virtual Token Counter, OSDI'24), inside strict priority bands.

A tenant's counter grows with the tokens that it is served, over its weight: a prompt's tokens when the job is
dispatched, output tokens as they are produced, one output token counting as two. The tenant with the lowest counter
goes next. A tenant that returns to a band is lifted to the lowest counter of those who wait there, so that idleness is
not saved up. Nothing here waits or knows the time.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from chorus_gateway.values import Band, Job, Tenant

INPUT_WEIGHT = 1.0
OUTPUT_WEIGHT = 2.0
_BYTES_PER_TOKEN = 8  # of a prompt that waits
_MANY_COUNTERS = 10_000  # from here on, counters that say nothing are forgotten


class QueueFull(Exception):
    """The message says which bound was reached."""


@dataclass(eq=False, slots=True)
class Place:
    """A job's place. `order` is its arrival, kept when the job comes back to be tried again."""

    job: Job
    order: int

    @property
    def size(self) -> int:
        return len(self.job.prompt) * _BYTES_PER_TOKEN


@dataclass(slots=True)
class _Lane:
    """One band of one base model: each tenant's jobs in order of arrival, and a heap of the tenants.

    Keys, (counter, order of the tenant's first job), only grow but for a job that comes back, so a heap entry is a
    lower bound: it is brought up to date when it reaches the top. `keys` has the one entry a tenant that counts.
    """

    jobs: dict[str, deque[Place]] = field(default_factory=dict)
    heap: list[tuple[tuple[float, int], str]] = field(default_factory=list)
    keys: dict[str, tuple[float, int]] = field(default_factory=dict)

    def rekey(self, tenant: str, key: tuple[float, int]) -> None:
        self.keys[tenant] = key
        heapq.heappush(self.heap, (key, tenant))
        if len(self.heap) > 2 * len(self.keys) + 64:
            # Entries of tenants that left stay until they reach the top, which those behind a long backlog never do.
            self.heap = [(key, tenant) for tenant, key in self.keys.items()]
            heapq.heapify(self.heap)


class FairQueue:
    """Places of jobs for several base models, bounded by count and by the prompts' bytes."""

    def __init__(self, *, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._lanes: dict[tuple[str, Band], _Lane] = {}
        self._waiting: dict[str, int] = {}  # by base model's digest
        self._counters: dict[Band, dict[str, float]] = {band: {} for band in Band}
        self._served = dict.fromkeys(Band, 0.0)  # counter of the tenant served last
        self._orders = 0
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def push(self, job: Job) -> Place:
        """QueueFull when a bound is reached."""
        place = Place(job, self._orders)
        if self._count >= self._max_jobs:
            raise QueueFull(f"{self._count} requests wait already, which is the limit")
        if self._bytes + place.size > self._max_bytes:
            raise QueueFull(f"the prompts that wait fill {self._bytes} of {self._max_bytes} bytes")
        self._orders += 1
        self._enter(place)
        return place

    def requeue(self, job: Job, order: int) -> Place:
        """A job that was dispatched and came back: to its old place, whatever the bounds."""
        place = Place(job, order)
        self._enter(place)
        return place

    def head(self, model: str) -> Place | None:
        """The job that goes next to an engine of this base model (digest)."""
        for band in Band:
            lane = self._lanes.get((model, band))
            if lane is not None and lane.jobs:
                return self._first(lane, band)
        return None

    def pop(self, place: Place) -> None:
        """Dispatched: its prompt is charged to its tenant."""
        job = place.job
        self.remove(place)
        self.charge(job.tenant, job.band, INPUT_WEIGHT * len(job.prompt))
        self._served[job.band] = self.counter(job)

    def remove(self, place: Place) -> None:
        job = place.job
        lane = self._lanes[job.model.base.digest, job.band]
        jobs = lane.jobs[job.tenant.id]
        jobs.remove(place)
        if not jobs:
            del lane.jobs[job.tenant.id]
            del lane.keys[job.tenant.id]
        if not lane.jobs:
            del self._lanes[job.model.base.digest, job.band]
        self._account(place, -1)

    def charge(self, tenant: Tenant, band: Band, tokens: float) -> None:
        """`tokens` weighted as input or output; the tenant's own weight is applied here."""
        counters = self._counters[band]
        counters[tenant.id] = counters.get(tenant.id, self._served[band]) + tokens / tenant.weight

    def counter(self, job: Job) -> float:
        """Of the job's tenant, which must wait in the job's band."""
        return self._counters[job.band][job.tenant.id]

    def waiting(self, model: str) -> int:
        return self._waiting.get(model, 0)

    def models(self) -> tuple[str, ...]:
        """Digests of the base models that jobs wait for."""
        return tuple(self._waiting)

    def places(self, model: str) -> list[Place]:
        """All that wait for a base model, in no order."""
        lanes = [lane for (digest, _), lane in self._lanes.items() if digest == model]
        return [place for lane in lanes for jobs in lane.jobs.values() for place in jobs]

    def check(self) -> None:
        """What is counted is what waits, and every tenant that waits has its heap entry and its counter."""
        places = [place for model in self._waiting for place in self.places(model)]
        assert self._count == len(places) == sum(self._waiting.values())
        assert self._bytes == sum(place.size for place in places)
        for (_, band), lane in self._lanes.items():
            assert lane.jobs.keys() == lane.keys.keys()
            assert all(tenant in self._counters[band] for tenant in lane.jobs)
            assert {(key, tenant) for tenant, key in lane.keys.items()} <= set(lane.heap)

    def _enter(self, place: Place) -> None:
        job = place.job
        self._lift(job)
        lane = self._lanes.setdefault((job.model.base.digest, job.band), _Lane())
        jobs = lane.jobs.setdefault(job.tenant.id, deque())
        if not jobs or place.order < jobs[0].order:
            jobs.appendleft(place)
            lane.rekey(job.tenant.id, (self.counter(job), place.order))
        else:
            jobs.append(place)
        self._account(place, +1)

    def _lift(self, job: Job) -> None:
        lanes = [lane for (_, band), lane in self._lanes.items() if band == job.band]
        if any(job.tenant.id in lane.jobs for lane in lanes):
            return
        counters = self._counters[job.band]
        waiting = [counters[self._first(lane, job.band).job.tenant.id] for lane in lanes]
        lowest = min(waiting, default=self._served[job.band])
        if len(counters) > _MANY_COUNTERS:
            self._forget_idle(job.band, lowest)
        counters[job.tenant.id] = max(counters.get(job.tenant.id, 0.0), lowest)

    def _forget_idle(self, band: Band, lowest: float) -> None:
        """A counter that a return would lift anyway says nothing."""
        waiting = {tenant for (_, other), lane in self._lanes.items() if other == band for tenant in lane.jobs}
        counters = self._counters[band]
        idle = [tenant for tenant, counter in counters.items() if counter <= lowest and tenant not in waiting]
        for tenant in idle:
            del counters[tenant]

    def _first(self, lane: _Lane, band: Band) -> Place:
        counters = self._counters[band]
        while True:
            key, tenant = lane.heap[0]
            if lane.keys.get(tenant) != key:
                heapq.heappop(lane.heap)
                continue
            first = lane.jobs[tenant][0]
            current = (counters[tenant], first.order)
            if current == key:
                return first
            lane.keys[tenant] = current
            heapq.heapreplace(lane.heap, (current, tenant))

    def _account(self, place: Place, sign: int) -> None:
        model = place.job.model.base.digest
        self._count += sign
        self._bytes += sign * place.size
        self._waiting[model] = self._waiting.get(model, 0) + sign
        if not self._waiting[model]:
            del self._waiting[model]
