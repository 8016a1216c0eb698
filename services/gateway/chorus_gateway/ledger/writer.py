"""Moves what is settled from the journal to SQL."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from chorus_gateway.errors import Unavailable
from chorus_gateway.ledger.entry import Entry
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import DAY_SECONDS

INTERVAL = 0.15  # seconds that rows gather; with the transaction they are in SQL within 200 ms
BATCH = 500  # rows of a transaction
FIRST_DELAY, LAST_DELAY = 0.2, 5.0  # seconds before another try while the database is away
SYNC_SECONDS = 1.0
PRUNE_SECONDS = 600.0

log = logging.getLogger(__name__)


class Writer:
    """`run` writes until it is cancelled. `lock` is held while rows may be in neither place, or in both."""

    def __init__(self, ledger: Ledger, journal: Journal, store: UsageStore, written: Counter) -> None:
        self.lock = asyncio.Lock()
        self._ledger = ledger
        self._journal = journal
        self._store = store
        self._written = written
        self._delay = 0.0
        self._failing = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._delay or INTERVAL)
            self._ledger.pay()
            await self.write_all()
            self._ledger.carry()
            self._journal.tidy()

    async def write_all(self) -> bool:
        """False when the database is away; what is not written stays."""
        while self._ledger.unwritten:
            async with self.lock:
                batch = self._ledger.take(BATCH)
                if not await self._write(batch):
                    return False
        return True

    async def _write(self, batch: list[Entry]) -> bool:
        try:
            rows = [row for entry in batch if (row := entry.tally.row()) is not None]
            self._written.inc(await self._store.add(rows))
        except Unavailable as error:
            self._ledger.put_back(batch)
            self._delay = min(LAST_DELAY, 2 * self._delay or FIRST_DELAY)
            if not self._failing:
                log.warning("usage cannot be written to the database", extra={"reason": error.message})
            self._failing = True
            return False
        except BaseException:
            self._ledger.put_back(batch)
            raise
        if self._failing:
            log.warning("usage is written to the database again")
        self._failing, self._delay = False, 0.0
        self._ledger.stored(batch)
        return True


async def keep_synced(journal: Journal) -> None:
    """Bounds what a crash of the machine loses."""
    while True:
        await asyncio.sleep(SYNC_SECONDS)
        try:
            await asyncio.to_thread(journal.sync)
        except OSError as error:
            log.warning("the journal cannot be synced", extra={"reason": str(error)})


async def prune(
    store: UsageStore,
    days: float,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Deletes rows of requests that are older than `days`, for ever."""
    while True:
        try:
            while await store.prune(clock() - days * DAY_SECONDS):
                await sleep(0.05)  # others write too
        except Unavailable as error:
            log.warning("old usage cannot be deleted", extra={"reason": error.message})
        await sleep(PRUNE_SECONDS)
