"""Counters of all gateway workers, brought together through Redis in batches.

Every `interval` a worker tells, in one Lua call a band, what it served since, and hears what the counters are. The
error: docs/adr/0018-shared-counters.md.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.queue.counters import Agreed, Entry
from chorus_gateway.queue.fair import FairQueue
from chorus_gateway.scripts import Script, Scripts
from chorus_gateway.values import Band

INTERVAL = 0.03  # seconds between two batches of a worker; with Redis's answer at most 50 ms on a healthy network
_RETRY = 0.1  # seconds after a batch that was not answered; no request waits for it
_MOST_A_BATCH = 1000  # tenants
_VALID_MS = 1000  # for which a worker's word on who waits there is true
_LASTING_MS = 600_000  # for which debts are remembered while nobody is served

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """Where counters are brought together. RedisError or OSError when it does not answer."""

    async def share(
        self, band: Band, number: int, lowest: float | None, served: float, batch: Mapping[str, Entry]
    ) -> Agreed:
        """The same `number` again, with the same deltas, counts once."""
        ...


class RedisLedger:
    def __init__(self, redis: Redis, worker: str) -> None:
        """`worker` is unique for the life of the process, and has no blanks."""
        self._worker = worker
        self._line = Scripts(redis)
        self._share = Script.load("chorus_gateway.queue", "share")

    async def share(
        self, band: Band, number: int, lowest: float | None, served: float, batch: Mapping[str, Entry]
    ) -> Agreed:
        tag = f"chorus:fair:{{{band.name.lower()}}}"
        mine = "" if lowest is None else repr(lowest)
        arguments = [self._worker, str(number), mine, repr(served), str(_VALID_MS), str(_LASTING_MS)]
        for tenant, entry in batch.items():
            arguments += [tenant, repr(entry.delta), repr(entry.known), str(entry.returned * (1 + entry.waits))]
        keys = [f"{tag}:counters", f"{tag}:workers"]
        elsewhere, last, *counters = await self._line.call(self._share, keys, arguments)
        totals = dict(zip(batch, map(float, counters), strict=True))
        return Agreed(totals, float(elsewhere) if elsewhere else None, float(last))

    async def aclose(self) -> None:
        await self._line.aclose()


class Sharing:
    """`run` shares until it is cancelled. While nobody answers, each worker goes by what it served itself; what it has
    not told, it tells later."""

    def __init__(
        self,
        queue: FairQueue,
        ledger: Ledger,
        *,
        changed: Callable[[], None],
        degraded: Gauge,
        interval: float = INTERVAL,
        retry: float = _RETRY,
    ) -> None:
        """`changed` is called when counters may have."""
        self._queue = queue
        self._ledger = ledger
        self._changed = changed
        self._degraded = degraded
        self._interval = interval
        self._retry = retry
        self._numbers = dict.fromkeys(Band, 0)  # of the batches answered
        self._told = dict.fromkeys(Band, False)  # whether the others think that something waits here
        self._turn = 0
        self._answered = True
        for counters in queue.counters.values():
            counters.shared = True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval if self._answered else self._retry)
            await self.share()

    async def share(self) -> None:
        """One batch of every band in which something happened or waits."""
        bands = [band for band in Band if self._interesting(band)]
        if not bands:
            return
        # Each to its end: a batch must not be told anew while it may still be answered.
        ends = await asyncio.gather(*map(self._share, bands), return_exceptions=True)
        error = next((end for end in ends if end is not None), None)
        if error is None:
            self._recover()
        elif isinstance(error, RedisError | OSError):
            self._fail(error)
        else:
            raise error
        self._changed()

    def _interesting(self, band: Band) -> bool:
        return self._told[band] or self._queue.counters[band].unsettled or bool(self._queue.tenants(band))

    async def _share(self, band: Band) -> None:
        queue, counters = self._queue, self._queue.counters[band]
        waiting = queue.tenants(band)
        self._turn += _MOST_A_BATCH // 2  # of very many that wait, others each time
        at = self._turn % len(waiting) if len(waiting) > _MOST_A_BATCH else 0
        batch = counters.take((*waiting[at:], *waiting[:at]), _MOST_A_BATCH)
        lowest, number = counters.lowest(waiting), self._numbers[band] + 1
        counters.agree(await self._ledger.share(band, number, lowest, counters.served, batch))
        self._numbers[band] = number
        self._told[band] = bool(waiting)

    def _fail(self, error: Exception) -> None:
        for counters in self._queue.counters.values():
            counters.alone()
        if self._answered:
            log.warning("Redis is away: each gateway worker is fair by itself", extra={"error": str(error)})
        self._answered = False
        self._degraded.set(1)

    def _recover(self) -> None:
        if not self._answered:
            log.warning("Redis is back: gateway workers are fair together again")
        self._answered = True
        self._degraded.set(0)
