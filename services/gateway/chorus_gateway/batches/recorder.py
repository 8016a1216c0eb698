"""Takes answers down in groups, a transaction each."""

import asyncio
import logging
import time
from itertools import accumulate

from prometheus_client import Counter

from chorus_gateway.batches.leases import Lease
from chorus_gateway.batches.results import Result, Results
from chorus_gateway.errors import Unavailable

GATHER = 0.1  # seconds in which a group comes together
RETRY = 1.0  # seconds while the database is away
MOST_WAITING = 256  # answers, or so many bytes of them, a transaction; lines with more wait
MOST_BYTES = 8 << 20

log = logging.getLogger(__name__)


class Recorder:
    """`run` beside those who `add`; it ends after `close` when all is durable, or with LeaseLost."""

    def __init__(self, results: Results, tenant: str, lease: Lease, counted: Counter, *, lease_seconds: float) -> None:
        """`counted` has the label `file`."""
        self._results = results
        self._tenant = tenant
        self._lease = lease
        self._output, self._errors = counted.labels("output"), counted.labels("errors")
        self._lease_seconds = lease_seconds
        self._waiting: list[Result] = []
        self._closed = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def add(self, result: Result) -> None:
        while result.large:
            try:
                result = await self._results.put_aside(self._tenant, result)
            except Unavailable as error:
                log.warning("a batch's large answer waits for the database", extra={"reason": error.message})
                await asyncio.sleep(RETRY)
        self._waiting.append(result)
        self._news.set()
        while len(self._group()) < len(self._waiting):
            self._room.clear()
            await self._room.wait()

    def _group(self) -> list[Result]:
        """As many as one transaction takes."""
        sizes = accumulate(len(each.data) for each in self._waiting[:MOST_WAITING])
        return self._waiting[: max(1, sum(size <= MOST_BYTES for size in sizes))]

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        while self._waiting or not self._closed:
            await self._news.wait()
            if not self._closed:
                await asyncio.sleep(GATHER)
            self._news.clear()
            await self.write()
            if self._closed:
                self._news.set()

    async def write(self) -> None:
        """All that waits."""
        tries = 0
        while some := self._group():
            try:
                until = time.time() + self._lease_seconds
                completed, failed = await self._results.add(self._lease, some, until=until)
            except Unavailable as error:
                if not tries:
                    log.warning("a batch's answers wait for the database", extra={"reason": error.message})
                tries += 1
                await asyncio.sleep(RETRY)
                continue
            self._output.inc(completed)
            self._errors.inc(failed)
            del self._waiting[: len(some)]
            self._room.set()
