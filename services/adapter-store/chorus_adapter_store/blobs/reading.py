"""One reading of a blob, followed by all who want it meanwhile."""

import asyncio
from collections.abc import AsyncGenerator


class Reading:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.wanted = True  # kept when it has ended
        self._error: Exception | None = None
        self._ended = False
        self._news = asyncio.Event()

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self._tell()

    def end(self, error: Exception | None = None) -> None:
        self._error = error
        self._ended = True
        self._tell()

    async def follow(self) -> AsyncGenerator[bytes]:
        """From the beginning to the end. Raises what the reading ended with."""
        at = 0
        while at < len(self.chunks) or not self._ended:
            if at < len(self.chunks):
                yield self.chunks[at]
                at += 1
            else:
                await self._news.wait()
        if self._error is not None:
            raise self._error

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
