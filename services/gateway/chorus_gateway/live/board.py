"""All workers' reports, added up."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.live.engines import EngineActivity, engine_activities
from chorus_gateway.live.reports import WORKERS, LiveReports, report_key
from chorus_gateway.live.snapshot import Snapshot, summed
from chorus_gateway.routing.member import Member

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Live:
    activity: Snapshot
    engines: tuple[EngineActivity, ...]
    workers: int  # gateway workers that are counted
    complete: bool  # False: Redis is away, and this is what the worker that answers knows alone


class LiveBoard:
    def __init__(self, redis: Redis, reports: LiveReports, members: Callable[[], Iterable[Member]]) -> None:
        """`reports` are this worker's own."""
        self._redis = redis
        self._reports = reports
        self._members = members

    async def read(self) -> Live:
        engines = engine_activities(self._members())
        try:
            snapshots = await self._snapshots()
        except (RedisError, OSError, ValueError) as error:
            log.warning("reports of the workers cannot be read", extra={"reason": str(error)})
            return Live(self._reports.latest, engines, workers=1, complete=False)
        return Live(summed(snapshots), engines, workers=len(snapshots), complete=True)

    async def _snapshots(self) -> list[Snapshot]:
        workers = sorted(map(str, await self._redis.smembers(WORKERS)))
        if not workers:
            return []
        reports = await self._redis.mget([report_key(worker) for worker in workers])
        gone = [worker for worker, report in zip(workers, reports, strict=True) if report is None]
        if gone:  # they ended without a word
            await self._redis.srem(WORKERS, *gone)
        return [Snapshot.from_json(str(report)) for report in reports if report is not None]
