"""Notices that the loop hangs while the rest of the process, heartbeat included, goes on."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from chorus_engine.loop import Pulse

log = logging.getLogger(__name__)

INTERVAL = 0.25  # seconds between two looks
FACTOR = 20  # a step may take this many times as long as the longest lately


@dataclass(frozen=True, slots=True)
class Bounds:
    stall: float  # seconds, at least
    hang: float  # seconds, at least


class Watchdog:
    """`stalled(flag)` is told when steps fail to end and when they end again; `hung()`, once, when they never will.

    Time in which the watchdog itself did not run (the process was stopped, the machine slept) does not count.
    """

    def __init__(
        self,
        pulse: Callable[[], Pulse],
        bounds: Bounds,
        *,
        stalled: Callable[[bool], None],
        hung: Callable[[], None],
        where: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`where()`: the stack of the loop's thread, for the log."""
        self._pulse = pulse
        self._bounds = bounds
        self._tell_stalled = stalled
        self._tell_hung = hung
        self._where = where
        self._clock = clock
        self._looked = clock()
        self._beats = 0
        self._silence = 0.0  # seconds
        self._stalled = False
        self._hung = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.look()

    def look(self) -> None:
        now, pulse = self._clock(), self._pulse()
        silent = pulse.busy and pulse.beats == self._beats
        self._silence = self._silence + min(now - self._looked, 2 * INTERVAL) if silent else 0.0
        self._looked, self._beats = now, pulse.beats
        limit = max(self._bounds.stall, FACTOR * pulse.longest)
        self._say_stalled(self._silence >= limit)
        if self._silence >= max(self._bounds.hang, 2 * limit) and not self._hung:
            self._hung = True
            log.critical("the engine hangs and ends", extra={"seconds": round(self._silence, 1)})
            self._tell_hung()

    def _say_stalled(self, stalled: bool) -> None:
        if stalled == self._stalled:
            return
        self._stalled = stalled
        if stalled:
            log.error("no step ends", extra={"seconds": round(self._silence, 1), "stack": self._where()})
        else:
            log.warning("steps end again")
        self._tell_stalled(stalled)
