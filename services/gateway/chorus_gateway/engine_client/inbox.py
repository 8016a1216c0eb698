"""What the engines have sent for one client request and the client has not taken yet."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chorus_gateway.values import Delta


@dataclass(slots=True)  # one a token: frozen ones take three times as long to make
class News:
    """A delta of one choice, with the time of its arrival in seconds on the monotonic clock."""

    index: int
    delta: Delta
    at: float


class Inbox:
    """Bounded in tokens: a client that reads more slowly than the engine writes must not cost memory without end.

    `put` answers False when the bound is passed; the caller then cancels and reports with `fail`. One reader.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._tokens = 0
        self._news: deque[News] = deque()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._at_once: Callable[[News], bool] | None = None

    def offer_to(self, at_once: Callable[[News], bool] | None) -> None:
        """News that come while the reader waits for some are offered to `at_once` first, and are only kept, and the
        reader woken, when it answers False: a task is not switched to for every token. What it raises, the reader
        gets."""
        self._at_once = at_once

    def put(self, news: News) -> bool:
        if self._waiter is not None and self._at_once is not None and not self._news and self._error is None:
            try:
                if self._at_once(news):
                    return True
            except Exception as error:
                self.fail(error)
                return True
        self._news.append(news)
        self._tokens += len(news.delta.token_ids)
        self._notify()
        return self._tokens <= self._max_tokens

    def fail(self, error: Exception) -> None:
        """The reader gets what is there, then this error. The first error stays."""
        self._error = self._error or error
        self._notify()

    async def get(self) -> News:
        while not self._news:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        news = self._news.popleft()
        self._tokens -= len(news.delta.token_ids)
        return news

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
