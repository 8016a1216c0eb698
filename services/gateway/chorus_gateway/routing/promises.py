"""Adapters that an engine was given to load, until it shows them or the promise lapses."""

import heapq
import time
from collections import Counter
from collections.abc import Callable


class Promises:
    """One engine an adapter. Times are seconds on the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}  # adapter → engine, until
        self._counts: Counter[str] = Counter()  # of `_held`, by engine
        self._ends: list[tuple[float, str]] = []  # heap of (until, adapter); entries of promises that ended stay in it

    def __len__(self) -> int:
        self._lapse()
        return len(self._held)

    def note(self, adapter: str, engine: str, seconds: float) -> None:
        """In the place of what was promised of this adapter before."""
        self.forget(adapter)
        until = self._clock() + seconds
        self._held[adapter] = (engine, until)
        self._counts[engine] += 1
        heapq.heappush(self._ends, (until, adapter))

    def forget(self, adapter: str) -> None:
        if (held := self._held.pop(adapter, None)) is not None:
            self._counts -= Counter([held[0]])  # which keeps none at zero: engines come and go

    def engine(self, adapter: str) -> str | None:
        """Who is to load it."""
        if adapter not in self._held:
            return None
        self._lapse()
        engine, _ = self._held.get(adapter, (None, 0.0))
        return engine

    def count(self, engine: str) -> int:
        """Adapters that this engine is to load."""
        self._lapse()
        return self._counts[engine]

    def _lapse(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            until, adapter = heapq.heappop(self._ends)
            if self._held.get(adapter, ("", 0.0))[1] == until:
                self.forget(adapter)
