"""How much may wait: bounds by count and by bytes, with some of both kept for tenants that have nothing waiting."""

from collections.abc import Iterable

from chorus_gateway.queue.lane import Place
from chorus_gateway.values import Band

_KEPT = 8  # one of so many places and bytes


class QueueFull(Exception):
    """The message says which bound was reached."""


class Room:
    """A tenant with jobs in the queue may fill seven eighths of it: the rest is for those that have none there."""

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self.count = 0
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: dict[Band, dict[str, int]] = {band: {} for band in Band}  # jobs by tenant

    def admit(self, place: Place) -> None:
        """QueueFull when there is no room for it."""
        tenant = place.job.tenant.id
        first = not any(tenant in waiting for waiting in self._waiting.values())
        most_jobs = self._max_jobs - (0 if first else self._max_jobs // _KEPT)
        most_bytes = self._max_bytes - (0 if first else self._max_bytes // _KEPT)
        if self.count >= most_jobs:
            raise QueueFull(f"{self.count} requests wait already, which is the limit")
        if self._bytes + place.size > most_bytes:
            raise QueueFull(f"the prompts that wait fill {self._bytes} of {self._max_bytes} bytes")

    def enter(self, place: Place) -> None:
        waiting, tenant = self._waiting[place.job.band], place.job.tenant.id
        waiting[tenant] = waiting.get(tenant, 0) + 1
        self.count += 1
        self._bytes += place.size

    def leave(self, place: Place) -> None:
        waiting, tenant = self._waiting[place.job.band], place.job.tenant.id
        waiting[tenant] -= 1
        if not waiting[tenant]:
            del waiting[tenant]
        self.count -= 1
        self._bytes -= place.size

    def waits(self, tenant: str, band: Band) -> bool:
        return tenant in self._waiting[band]

    def tenants(self, band: Band) -> tuple[str, ...]:
        return tuple(self._waiting[band])

    def check(self, places: Iterable[Place]) -> None:
        """What is counted is what waits."""
        counts: dict[Band, dict[str, int]] = {band: {} for band in Band}
        total, size = 0, 0
        for place in places:
            counts[place.job.band][place.job.tenant.id] = counts[place.job.band].get(place.job.tenant.id, 0) + 1
            total += 1
            size += place.size
        assert self.count == total
        assert self._bytes == size
        assert self._waiting == counts
