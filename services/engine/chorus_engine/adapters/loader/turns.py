"""What nobody waits for yet pauses while something is brought for a request."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Fetches for requests share the way; prefetches have it when there are none."""

    def __init__(self) -> None:
        self._urgent: dict[int, bool] = {}  # by fetch
        self._changed = asyncio.Event()

    @contextmanager
    def taking(self, number: int, *, urgent: bool) -> Iterator[None]:
        self._urgent[number] = urgent
        try:
            yield
        finally:
            del self._urgent[number]
            self._changed.set()

    def hasten(self, number: int) -> None:
        if number in self._urgent:
            self._urgent[number] = True
            self._changed.set()

    async def pace(self, number: int, parts: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """The parts; a prefetch's as others leave the way free."""
        async with aclosing(parts):
            async for part in parts:
                while not self._urgent[number] and any(self._urgent.values()):
                    self._changed.clear()
                    await self._changed.wait()
                yield part
