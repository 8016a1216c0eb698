"""Takes batches that nobody works on, and works on them; every gateway process does."""

import asyncio
import logging
import time
from contextlib import suppress

from prometheus_client import Counter

from chorus_gateway.batches.answering import LineRules
from chorus_gateway.batches.asking import Asks
from chorus_gateway.batches.leases import Lease, LeaseLost
from chorus_gateway.batches.run import Run
from chorus_gateway.batches.stores import Stores
from chorus_gateway.errors import Unavailable

LOOK = 1.0  # seconds between two looks for batches, and the longest until a cancelled one stops
RETRY = 1.0  # seconds while the database is away
MOST = 8  # batches that one process works on
TURN = 60.0  # seconds that it works on one at least, before it makes way for another tenant's

log = logging.getLogger(__name__)


class BatchWork:
    """`run` until it is cancelled: what it works on then, another process goes on with at once."""

    def __init__(self, stores: Stores, asks: Asks, rules: LineRules, counted: Counter) -> None:
        """`counted` has the label `file`."""
        self._stores = stores
        self._asks = asks
        self._rules = rules
        self._counted = counted
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, Run] = {}  # by batch, in the order of their beginning
        self._woken = asyncio.Event()
        self._away = False  # the database

    def wake(self) -> None:
        """There may be a new batch."""
        self._woken.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for lease in await self._claim():
                    task = group.create_task(self._hold(lease))
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._woken.wait()
                self._woken.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.wake()

    async def _claim(self) -> list[Lease]:
        room = MOST - len(self._tasks)
        try:
            if room <= 0:
                await self._make_way()
            leases = await self._stores.leases.claim(room) if room > 0 else []
        except Unavailable as error:
            if not self._away:  # once, not every second
                log.warning("batches wait for the database", extra={"reason": error.message})
            self._away = True
            return []
        if self._away:
            log.info("the database has batches again")
        self._away = False
        return leases

    async def _make_way(self) -> None:
        """By one batch at a time, as each that goes changes who has too many."""
        until = time.monotonic() - TURN
        long = [batch for batch, run in self._runs.items() if run.began <= until]
        if not long or any(run.leaves for run in self._runs.values()):
            return
        crowding = await self._stores.leases.crowding(long)
        if crowding in self._runs:
            self._runs[crowding].leave()

    async def _hold(self, lease: Lease) -> None:
        """To the batch's end, or until somebody else has it or should have it."""
        try:
            while await self._interrupted(lease):  # noqa: ASYNC110 - nobody tells when the database is back
                await asyncio.sleep(RETRY)
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await asyncio.shield(self._stores.leases.release(lease))
            raise

    async def _interrupted(self, lease: Lease) -> bool:
        """Works on it. True when it should be tried again: the database was away."""
        again = False
        try:
            await self._work(lease)
        except* LeaseLost:
            log.info("another gateway has taken over a batch", extra={"batch": lease.batch_id})
        except* Unavailable:
            log.warning("a batch waits for the database", extra={"batch": lease.batch_id})
            again = True
        except* Exception:
            # Its lease lapses, and then it is tried anew.
            log.exception("a batch cannot be worked on now", extra={"batch": lease.batch_id})
            again = False
        return again

    async def _work(self, lease: Lease) -> None:
        run = self._runs[lease.batch_id] = Run(lease, self._stores, self._asks, self._rules, self._counted)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep(lease, run))
                ended = await run.to_its_end()
                keeper.cancel()
        finally:
            del self._runs[lease.batch_id]
        if not ended:
            await self._stores.leases.release(lease)

    async def _keep(self, lease: Lease, run: Run) -> None:
        """LeaseLost once it has lapsed, whoever has it: two must not do the same for long."""
        seconds = self._stores.leases.seconds
        kept = time.monotonic()
        while True:
            await asyncio.sleep(min(LOOK, seconds / 3))
            try:
                run.heard(await self._stores.leases.renew(lease))
                kept = time.monotonic()
            except Unavailable as error:
                if time.monotonic() - kept > seconds:
                    raise LeaseLost(lease.batch_id) from error
