"""How fast jobs of one base model leave the queue, and so how long those behind wait."""

import math
import time
from collections.abc import Callable

_MEMORY = 30.0  # seconds of waiting after which a dispatch counts for 1/e


class Pace:
    """Counts dispatches over the time in which something waited, both fading with that time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._dispatches = 0.0
        self._seconds = 0.0
        self._since: float | None = None  # something waits, and the time is counted up to here

    def waits(self) -> None:
        """From now on something does."""
        if self._since is None:
            self._since = self._clock()

    def emptied(self) -> None:
        self._advance()
        self._since = None

    def dispatched(self) -> None:
        self._advance()
        self._dispatches += 1

    def seconds(self, ahead: float) -> float:
        """Until as many jobs and one more have been dispatched. Hopeful while little is known: the next dispatch counts
        as if it came now."""
        self._advance()
        return (ahead + 1) * self._seconds / (self._dispatches + 1)

    def _advance(self) -> None:
        if self._since is None:
            return
        now = self._clock()
        kept = math.exp((self._since - now) / _MEMORY)
        self._dispatches *= kept
        self._seconds = self._seconds * kept + (1 - kept) * _MEMORY
        self._since = now
