"""Removes what nobody can ask for any more."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from chorus_adapter_store.blobs import Blobs
from chorus_adapter_store.catalog import HistoryCatalog, Retention
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.outage import Outage

_HISTORY_SECONDS = 90 * 86_400.0
_log = logging.getLogger(__name__)


class Janitor:
    def __init__(
        self,
        retention: Retention,
        history: HistoryCatalog,
        blobs: Blobs,
        *,
        grace: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`grace`: seconds for which a deleted generation can be restored, and fetched by its digest."""
        self._retention = retention
        self._history = history
        self._blobs = blobs
        self._grace = grace
        self._clock = clock

    async def sweep(self) -> None:
        """The catalog first: a crash in between leaves blobs without a name, which the next sweep finds."""
        now = self._clock()
        generations = await self._retention.purge(now - self._grace, now)
        await self._history.forget(now - _HISTORY_SECONDS)
        blobs = await self._retention.collect(await self._blobs.digests(), self._blobs.remove)
        if generations or blobs:
            _log.info("removed %d deleted generations and %d blobs", generations, blobs)

    async def drop(self, digests: frozenset[str]) -> None:
        """Remove these blobs now, those that nothing names; when that fails the next sweep does it."""
        with suppress(Unavailable):
            await self._retention.collect(digests, self._blobs.remove)

    async def run(self, interval: float) -> None:
        outage = Outage("the catalog or the disk (sweep)", _log)
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                outage.failed(error)
            except Exception:
                _log.exception("the sweep failed; the next one tries again")
            else:
                outage.worked()
            await asyncio.sleep(interval)
