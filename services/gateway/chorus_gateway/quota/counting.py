"""Counters of days and budgets, brought up to what the usage ledger knows."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from redis.exceptions import RedisError

from chorus_gateway.errors import GatewayError, Unavailable
from chorus_gateway.quota.base import Subject, Used
from chorus_gateway.quota.epoch import Epoch
from chorus_gateway.quota.periods import number_of
from chorus_gateway.quota.spent import Spent
from chorus_gateway.quota.wire import Field, keys_of
from chorus_gateway.scripts import Script, Scripts
from chorus_gateway.values import Period

PATIENCE = 2.5  # seconds; gateways notice a loss within one, and tell of what they have in flight
LEDGER_DELAY = 0.25  # seconds from a request's end until the ledger has it
RECENT = 10.0  # seconds after a loss
OTHERS_SECONDS = 5.0  # how long somebody else's count is waited for
AGAIN_SECONDS = 1.0  # after a count in the background that failed
SPENT_SECONDS = 5.0  # how long the ledger is waited for
OURS = 1  # the script's word that nobody else counts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counted:
    """One counter of one subject."""

    tenant: str
    subject: Subject
    field: Field

    @property
    def key(self) -> tuple[str, str, Field]:
        return self.tenant, self.subject.name, self.field

    @property
    def period(self) -> Period:
        return Period.DAY if self.field == "d" else self.subject.limits.budget_period

    def of(self, used: Used) -> int:
        return used.tokens if self.field == "d" else used.cost


class Counting:
    """Each counter is counted once at a time, here and among all gateways."""

    def __init__(
        self,
        line: Scripts,
        script: Script,
        epoch: Epoch,
        spent: Spent,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`patience`: seconds after a loss of Redis before anything is counted. `clock`: the ledger's, whose day or
        month must be Redis's for a count to hold."""
        self._line = line
        self._script = script
        self._epoch = epoch
        self._spent = spent
        self._patience = patience
        self._clock = clock
        self._who = uuid.uuid4().hex[:12]
        self._counts: dict[tuple[str, str, Field], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, str, Field], float] = {}  # of counts that failed, on the monotonic clock

    async def count(self, wanted: list[Counted]) -> None:
        """Unavailable when the ledger cannot tell; RedisError when Redis is away. A count may still not hold."""
        await asyncio.gather(*(asyncio.shield(self._start(counted, doubted=False)) for counted in wanted))

    def doubt(self, counted: Counted) -> None:
        """Counts again in the background what was counted in full for a request that nobody settled."""
        if time.monotonic() >= self._not_before.get(counted.key, 0.0):
            self._start(counted, doubted=True)

    async def aclose(self) -> None:
        counts = list(self._counts.values())
        for task in counts:
            task.cancel()
        await asyncio.gather(*counts, return_exceptions=True)

    def _start(self, counted: Counted, *, doubted: bool) -> "asyncio.Task[None]":
        task = self._counts.get(counted.key)
        if task is None:
            task = self._counts[counted.key] = asyncio.create_task(self._run(counted, doubted))
            task.add_done_callback(lambda done: self._ended(counted, done))
        return task

    def _ended(self, counted: Counted, task: "asyncio.Task[None]") -> None:
        del self._counts[counted.key]
        failing = self._not_before.pop(counted.key, None) is not None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._not_before[counted.key] = time.monotonic() + AGAIN_SECONDS
            if not failing:  # one line until it is counted
                log.warning("a day's or budget's use was not counted", extra={"error": str(error)})

    async def _run(self, counted: Counted, doubted: bool) -> None:
        age = await self._epoch.look()
        await asyncio.sleep(max(0.0, self._patience - age))
        if not await self._begin(counted):
            return
        if doubted or age < RECENT:
            await asyncio.sleep(min(LEDGER_DELAY, self._patience))
        number = number_of(counted.period, self._clock())
        spent = counted.of(await self._ask(counted))
        await self._call(counted, "end", self._epoch.name, str(spent), str(number))

    async def _begin(self, counted: Counted) -> bool:
        """Once nobody else counts. False where somebody just has."""
        until = time.monotonic() + OTHERS_SECONDS
        while not (turn := await self._call(counted, "begin", str(round(OTHERS_SECONDS * 1e6)), self._epoch.name)):
            if time.monotonic() > until:
                raise _untold()
            await asyncio.sleep(0.05)
        return turn == OURS

    async def _ask(self, counted: Counted) -> Used:
        try:
            async with asyncio.timeout(SPENT_SECONDS):
                return await self._spent.spent(counted.tenant, counted.subject, counted.period)
        except (GatewayError, RedisError):
            raise
        except Exception as error:
            log.warning("the usage ledger does not answer", extra={"error": repr(error)})
            raise _untold() from error

    async def _call(self, counted: Counted, step: str, *arguments: str) -> int:
        given = [step, counted.subject.name, counted.field, counted.period.value, self._who, *arguments]
        return int(await self._line.call(self._script, keys_of(counted.tenant), given))


def _untold() -> Unavailable:
    return Unavailable("What was used of the day's tokens or the budget cannot be told now: try again in a moment.")
