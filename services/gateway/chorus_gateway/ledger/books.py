"""The ledger's parts, put together for one worker."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chorus_gateway.db import Database
from chorus_gateway.ledger.adoption import Adoption
from chorus_gateway.ledger.inquiry import PATIENCE, Engines
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.orphans import Orphans
from chorus_gateway.ledger.reports import Reports
from chorus_gateway.ledger.spent import LedgerSpent
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import DAY_SECONDS
from chorus_gateway.ledger.writer import Writer, keep_synced, prune
from chorus_gateway.telemetry import Metrics

FINISH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How usage is kept."""

    folder: Path
    sync: bool = False  # the journal goes to the disk itself every second
    retention: int = 0  # days; 0 is for ever
    patience: float = PATIENCE  # seconds that an engine may be away before what it knows counts as lost

    def oldest(self) -> float:
        """Since when rows are kept, in seconds since 1970."""
        return time.time() - self.retention * DAY_SECONDS if self.retention else 0.0


class Books:
    """`background` runs for as long as the gateway serves. StartError when the journal cannot be written."""

    def __init__(
        self, keeping: Keeping, worker_id: str, database: Database, engines: Engines, metrics: Metrics
    ) -> None:
        self._keeping = keeping
        self._journal = Journal(keeping.folder, worker_id)
        self._store = UsageStore(database)
        self.ledger = Ledger(self._journal)
        self._writer = Writer(self.ledger, self._journal, self._store, metrics.usage_rows_total)
        self.spent = LedgerSpent(database, self.ledger, self._writer)
        self.reports = Reports(database)
        unknown, patience = metrics.usage_unknown_total, keeping.patience
        self._orphans = Orphans(self.ledger, engines, worker_id, unknown, patience=patience)
        self._adoption = Adoption(
            *(keeping.folder, self._store, engines, metrics.usage_adopted_total, unknown),
            patience=patience,
            oldest=keeping.oldest,
        )
        metrics.usage_unwritten.set_function(lambda: self.ledger.unwritten)

    def tell(self, doubt: Callable[[str, str, str], None]) -> None:
        """`doubt` hears the tenant, key and adapter of what was a dead worker's, once it is in SQL."""
        self._adoption.entered = lambda each: doubt(each.tenant, each.key, each.adapter)

    def background(self) -> tuple[Coroutine[Any, Any, None], ...]:
        works = [self._writer.run(), self._orphans.run(), self._adoption.run()]
        if self._keeping.sync:
            works.append(keep_synced(self._journal))
        if self._keeping.retention:
            works.append(prune(self._store, self._keeping.retention))
        return tuple(works)

    async def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """At the end, once nothing new comes: until all is in SQL, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.ledger.entries:  # noqa: ASYNC110 - once in a process's life
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """What is not in SQL then stays in the journal, for the next worker."""
        try:
            await self._writer.write_all()
        finally:
            self._journal.close()
