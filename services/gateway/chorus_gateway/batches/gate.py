"""How many lines of a batch run at once: as many as are allowed, fewer while the tenant's limits refuse them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Gate:
    """Halved by a refusal, and one wider after a round of lines that were let through: a batch finds its tenant's
    limits without taking all that the tenant's other requests could have."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._width = float(most)
        self._inside = 0
        self._closed_until = 0.0
        self._freed = asyncio.Event()

    @property
    def width(self) -> int:
        return int(self._width)

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        while (left := self._closed_until - self._clock()) > 0 or self._inside >= self.width:
            if left > 0:
                await asyncio.sleep(left)
            else:
                self._freed.clear()
                await self._freed.wait()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._freed.set()

    def refused(self, seconds: float) -> None:
        """Nobody passes for so long. Refusals of one round count once."""
        now = self._clock()
        if now >= self._closed_until:
            self._width = max(1.0, self._width / 2)
        self._closed_until = max(self._closed_until, now + seconds)

    def let_through(self) -> None:
        self._width = min(float(self._most), self._width + 1 / self._width)
