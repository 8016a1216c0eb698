"""Finishes the journals of workers that were killed: each request is written once, with its engines' figures."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from prometheus_client import Counter

from chorus_gateway.errors import Unavailable
from chorus_gateway.ledger.dead import DeadJournal, find_dead
from chorus_gateway.ledger.inquiry import PATIENCE, Engines, Findings, Inquiry
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.tally import Tally
from chorus_gateway.ledger.values import Admission

BATCH = 500  # rows of a transaction
INTERVAL = 1.0  # seconds between two looks at the folder
ROUND = 0.5  # seconds between two rounds of questions
RETRY = 1.0  # seconds while the database is away
BROKEN = 60.0  # seconds before another try at a journal that cannot be read or removed

log = logging.getLogger(__name__)


class Adoption:
    """`run` looks for dead workers until it is cancelled. A journal stays until all of it is in SQL, so that whoever
    dies while adopting is followed by another."""

    def __init__(
        self,
        folder: Path,
        store: UsageStore,
        engines: Engines,
        adopted: Counter,
        unknown: Counter,
        *,
        patience: float = PATIENCE,
        oldest: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`adopted` counts rows, `unknown` final usages that nobody can tell. Requests from before `oldest` (seconds
        since 1970) have had their rows, which were deleted since: they are left out."""
        self._folder = folder
        self._store = store
        self._engines = engines
        self._adopted = adopted
        self._unknown = unknown
        self._patience = patience
        self._oldest = oldest
        self.entered: Callable[[Admission], None] = lambda _: None  # hears of every request that is in SQL now

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for dead in await asyncio.to_thread(find_dead, self._folder):
                    group.create_task(self.adopt(dead))
                await asyncio.sleep(INTERVAL)

    async def adopt(self, dead: DeadJournal) -> None:
        log.info("adopting the journal of a dead worker", extra={"worker": dead.worker_id})
        try:
            unsettled = await self._finished(dead)
            await self._ask(dead, unsettled)
            await asyncio.to_thread(dead.remove)
        except Exception:
            log.exception("a journal cannot be adopted now", extra={"worker": dead.worker_id})
            await asyncio.sleep(BROKEN)
        finally:
            dead.close()

    async def _finished(self, dead: DeadJournal) -> dict[str, Tally]:
        """Writes what needs nobody's word. Answers the rest."""
        unsettled: dict[str, Tally] = {}
        finished = dead.tallies(unsettled)
        while batch := await asyncio.to_thread(lambda: list(islice(finished, BATCH))):
            await self._write(batch)
        return unsettled

    async def _ask(self, dead: DeadJournal, unsettled: dict[str, Tally]) -> None:
        inquiry = Inquiry(self._engines, dead.worker_id, patience=self._patience)
        for tally in unsettled.values():
            for submission, sent in tally.sent.items():
                if not sent.ended:
                    inquiry.want(submission, sent.engine_id)
        while True:
            findings = await inquiry.ask(also=self._engines.clients())
            for tally in unsettled.values():
                for submission in findings.usage.keys() & tally.sent.keys():
                    self._unknown.inc(findings.usage[submission] is None)
                    tally.end(submission, findings.usage[submission])
            settled = {name: tally for name, tally in unsettled.items() if tally.settled}
            await self._write(settled.values())
            for name in settled:
                del unsettled[name]
            await self._acknowledge(inquiry, findings, unsettled)
            if not unsettled:
                return
            await asyncio.sleep(ROUND)

    async def _acknowledge(self, inquiry: Inquiry, findings: Findings, unsettled: dict[str, Tally]) -> None:
        """What is in SQL, and what the dead worker had taken down itself."""
        needed = {submission for tally in unsettled.values() for submission in tally.sent}
        for engine_id, kept in findings.kept.items():
            await inquiry.acknowledge(engine_id, [name for name in kept if name not in needed])

    async def _write(self, tallies: Iterable[Tally]) -> None:
        """Until the database has them."""
        oldest = self._oldest()
        rows = [row for tally in tallies if tally.admission.at >= oldest and (row := tally.row()) is not None]
        for at in range(0, len(rows), BATCH):
            batch = rows[at : at + BATCH]
            while True:
                try:
                    self._adopted.inc(await self._store.add(batch))
                    break
                except Unavailable as error:
                    log.warning("adopted usage waits for the database", extra={"reason": error.message})
                    await asyncio.sleep(RETRY)
            for row in batch:
                self.entered(row.admission)
