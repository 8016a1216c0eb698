"""Everything between this engine and Redis."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from chorus_engine.core.commands import Command, Outcome
from chorus_engine.core.load import Held
from chorus_engine.presence.commands import BLOCK, Commands
from chorus_engine.presence.holdings import Holdings
from chorus_engine.presence.outage import Outage
from chorus_engine.presence.presence import Presence
from chorus_engine.presence.records import Condition, Registration
from chorus_engine.presence.redis_url import connect

log = logging.getLogger(__name__)

AGAIN = 1.0  # seconds


class Registry:
    """Nothing that serves requests waits for any of it. Made inside the event loop that it lives on."""

    def __init__(
        self,
        url: str,
        registration: Registration,
        holdings: Holdings,
        *,
        execute: Callable[[Command], Awaitable[Outcome]],
        ended: Callable[[str, str], None],
        timeout: float = 0.1,
    ) -> None:
        """`execute` carries a command out and never fails; `ended(verb, status)` counts what has ended. `timeout`: of
        Redis' answers, in seconds.
        """
        self._holdings = holdings
        self._stalled = False
        self._draining = False
        redis, outage = connect(url, timeout), Outage()
        self._presence = Presence(
            redis,
            registration,
            condition=self._condition,
            held=holdings.all,
            epoch=time.time() - time.monotonic(),
            outage=outage,
        )
        self._commands = Commands(
            connect(url, BLOCK + 2.0),
            redis,
            registration.keys,
            execute=execute,
            ended=ended,
            lost=self._presence.hurry,
            outage=outage,
            clock=time.monotonic,
        )

    def changed(self, changes: Mapping[str, Held | None]) -> None:
        """`holdings` has them already."""
        if changes:
            self._presence.changed(changes)

    def set_stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        self._presence.hurry()

    async def run(self) -> None:
        """Until cancelled. What breaks begins anew: without a heartbeat nobody would send this engine anything."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_for_ever(self._presence.run))
            group.create_task(_for_ever(self._commands.run))

    async def drain(self) -> None:
        """Ask gateways and placer, at once, to send nothing new."""
        self._draining = True
        await self._presence.beat()

    async def leave(self) -> None:
        """After `run` was cancelled: out of the registry, and the connections closed."""
        await self._commands.close()
        await self._presence.leave()

    def _condition(self) -> Condition:
        return Condition(self._holdings.room(), self._commands.term, self._stalled, self._draining)


async def _for_ever(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            log.exception("what speaks to redis broke")
            await asyncio.sleep(AGAIN)
