"""One lane of the fair queue: jobs of one base model and band that may all go to the same engines."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chorus_gateway.values import Job


class Aim(NamedTuple):
    """Where a job should go."""

    engines: frozenset[str] = frozenset()  # ids; none is any engine
    firm: bool = False  # whatever their load
    never: frozenset[str] = frozenset()  # ids of engines that cannot hold its adapter


ANYWHERE = Aim()
_BYTES_PER_TOKEN = 8  # of a prompt that waits

Key = tuple[float, int]


@dataclass(eq=False, slots=True)
class Place:
    """A job's place. `order` is its arrival, kept when the job comes back to be tried again; `rank` is what its
    tenant's jobs go by."""

    job: Job
    order: int
    aim: Aim = ANYWHERE
    rank: float = 0.0

    @property
    def size(self) -> int:
        return len(self.job.prompt) * _BYTES_PER_TOKEN


def _key(place: Place) -> Key:
    return place.rank, place.order


@dataclass(slots=True)
class Lane:
    """Each tenant's jobs in its own order, and a heap of the tenants.

    Keys, (counter, order of the tenant's first job), only grow but for a job that enters before its tenant's first, so
    a heap entry is a lower bound: it is brought up to date when it reaches the top. `keys` has the one entry a tenant
    that counts.
    """

    jobs: dict[str, list[Place]] = field(default_factory=dict)
    heap: list[tuple[Key, str]] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    waiting: int = 0

    def add(self, place: Place, counter: float) -> None:
        """`counter` is its tenant's."""
        tenant = place.job.tenant.id
        jobs = self.jobs.setdefault(tenant, [])
        insort(jobs, place, key=_key)
        if jobs[0] is place:
            self._rekey(tenant, (counter, place.order))
        self.waiting += 1

    def remove(self, place: Place) -> None:
        tenant = place.job.tenant.id
        jobs = self.jobs[tenant]
        at = bisect_left(jobs, _key(place), key=_key)
        assert jobs[at] is place
        del jobs[at]
        if not jobs:
            del self.jobs[tenant], self.keys[tenant]
        elif not at:
            self._lower(tenant, jobs[0])
        self.waiting -= 1

    def first(self, counters: Mapping[str, float]) -> Place:
        """The first job of the tenant with the lowest counter; there must be one."""
        while True:
            key, tenant = self.heap[0]
            if self.keys.get(tenant) != key:
                heapq.heappop(self.heap)
                continue
            first = self.jobs[tenant][0]
            current = (counters[tenant], first.order)
            if current == key:
                return first
            self.keys[tenant] = current
            heapq.heapreplace(self.heap, (current, tenant))

    def _lower(self, tenant: str, first: Place) -> None:
        """By size, the next of its jobs may have come before the one that left."""
        counter, order = self.keys[tenant]
        if first.order < order:
            self._rekey(tenant, (counter, first.order))

    def _rekey(self, tenant: str, key: Key) -> None:
        self.keys[tenant] = key
        heapq.heappush(self.heap, (key, tenant))
        if len(self.heap) > 2 * len(self.keys) + 64:
            # Entries of tenants that left stay until they reach the top, which those behind a long backlog never do.
            self.heap = [(key, tenant) for tenant, key in self.keys.items()]
            heapq.heapify(self.heap)
