"""One batch, from where it stands to its end, by the process that holds its lease."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from chorus_gateway.batches.answering import Answering, LineRules
from chorus_gateway.batches.asking import Asks
from chorus_gateway.batches.leases import Lease
from chorus_gateway.batches.publishing import Publishing
from chorus_gateway.batches.recorder import Recorder
from chorus_gateway.batches.rows import problems_text
from chorus_gateway.batches.shapes import CANCELLED, EXPIRED
from chorus_gateway.batches.stores import Stores
from chorus_gateway.batches.validation import Validation
from chorus_gateway.batches.values import OVER, Batch, Status


class Run:
    """Every step begins with what SQL says and ends in SQL, so that it may be killed anywhere and begun anew."""

    def __init__(self, lease: Lease, stores: Stores, asks: Asks, rules: LineRules, counted: Counter) -> None:
        self._lease = lease
        self._stores = stores
        self._asks = asks
        self._rules = rules
        self._counted = counted
        self._validation = Validation(stores.files, max_line=rules.max_bytes)
        self._publishing = Publishing(lease, stores)
        self._cancelled = asyncio.Event()
        self._turn_over = asyncio.Event()
        self._unanswered = False  # lines, after its turn
        self.began = time.monotonic()

    @property
    def leaves(self) -> bool:
        return self._turn_over.is_set()

    def leave(self) -> None:
        """Its place is wanted. What runs is finished, and whoever has the batch next asks the lines that are left."""
        self._turn_over.set()

    async def to_its_end(self) -> bool:
        """False where it left lines to whoever has the batch next. LeaseLost when another process has it now,
        Unavailable while the database is away."""
        while True:
            batch = await self._stores.leases.renew(self._lease)
            if batch.status in OVER:
                await self._publishing.tidy_up(batch)
                return True
            if self._unanswered:
                return False
            await self._step(batch)

    def heard(self, batch: Batch) -> None:
        """What the renewal of the lease brought meanwhile."""
        if batch.status is Status.CANCELLING:
            self._cancelled.set()

    async def _step(self, batch: Batch) -> None:
        match batch.status:
            case Status.VALIDATING:
                await self._validate(batch)
            case Status.IN_PROGRESS:
                await self._answer(batch)
            case Status.CANCELLING if not batch.counts.total:  # before its input was read
                await self._publishing.publish(batch, Status.CANCELLED)
            case Status.CANCELLING:
                await self._recording(batch, lambda answering, done: answering.give_up(done, *CANCELLED))
                await self._publishing.publish(batch, Status.CANCELLED)
            case Status.FINALIZING:
                expired = "expired_at" in batch.moments
                await self._publishing.publish(batch, Status.EXPIRED if expired else Status.COMPLETED)

    async def _validate(self, batch: Batch) -> None:
        checked = await self._validation.check(batch.wanted.input_file_id, batch.wanted.endpoint)
        now = time.time()
        values: dict[str, object] = {"model": checked.model}
        if checked.problems:
            values |= {"status": Status.FAILED.value, "failed_at": now, "errors": problems_text(checked.problems)}
        else:
            values |= {"status": Status.IN_PROGRESS.value, "in_progress_at": now, "total": checked.total}
        await self._publishing.move(batch, values)

    async def _answer(self, batch: Batch) -> None:
        await self._recording(batch, lambda answering, done: self._until_stopped(batch, answering.ask_all(done)))
        if self._cancelled.is_set():
            return
        values = {"status": Status.FINALIZING.value, "finalizing_at": time.time()}
        # What came in time has its answer. If that was all, it has not expired.
        if len(await self._stores.results.answered(batch.id)) < batch.counts.total:
            if batch.expires_at > time.time():
                self._unanswered = True
                return
            await self._recording(batch, lambda answering, done: answering.give_up(done, *EXPIRED))
            values["expired_at"] = time.time()
        await self._publishing.move(batch, values)

    async def _recording(self, batch: Batch, work: Callable[[Answering, set[int]], Awaitable[None]]) -> None:
        """`work` on the lines that have no answer, until all that it made is durable."""
        recorder = Recorder(
            self._stores.results,
            batch.tenant,
            self._lease,
            self._counted,
            lease_seconds=self._stores.leases.seconds,
        )
        answering = Answering(batch, self._stores.files, self._asks, recorder, self._rules, self._turn_over)
        done = await self._stores.results.answered(batch.id)
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run())
            try:
                await work(answering, done)
            finally:
                recorder.close()

    async def _until_stopped(self, batch: Batch, work: Awaitable[None]) -> None:
        """The end of `work`, of the batch's window, or of its client's patience."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self._cancelled.wait())
        try:
            window = max(0.0, batch.expires_at - time.time())
            await asyncio.wait({working, stopped}, timeout=window, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            working.cancel()
            await asyncio.wait({working})
        if not working.cancelled():
            working.result()
