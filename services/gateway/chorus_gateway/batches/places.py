"""Lines of a batch that are in memory: bounded by count and by bytes."""

import asyncio


class Places:
    """Every `take` has its `leave`. One taker."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._taken = self._bytes = 0
        self._left = asyncio.Event()

    async def take(self, size: int) -> None:
        """A line that is larger than all may be together goes alone."""
        while self._taken and (self._taken >= self._most or self._bytes + size > self._most_bytes):
            self._left.clear()
            await self._left.wait()
        self._taken += 1
        self._bytes += size

    def leave(self, size: int, _: object = None) -> None:
        self._taken -= 1
        self._bytes -= size
        self._left.set()
