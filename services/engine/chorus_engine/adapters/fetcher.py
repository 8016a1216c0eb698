"""Has adapters brought into host memory, beside the step loop."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from chorus_engine.adapters.loader import Refused
from chorus_engine.core.errors import AdapterError, AdapterUnavailable
from chorus_engine.core.spec import AdapterFootprint

log = logging.getLogger(__name__)

ATTEMPTS = 4
FIRST_BACKOFF = 0.2  # seconds, doubled each time

# Opens a span below a traceparent and gives the traceparent to send on.
Trace = Callable[[str, str], AbstractContextManager[str]]
Room = Callable[[AdapterFootprint, int], Awaitable[int]]


class Loader(Protocol):
    async def load(self, digest: str, traceparent: str, *, urgent: bool, room: Room) -> None: ...
    def hasten(self, digest: str) -> None: ...


class AdapterFetcher:
    """Brings each digest once at a time, however often it is asked for, and reports each end exactly once.

    Lives on the event loop. A store that does not answer, or a loader that ends, is tried again with backoff.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        room: Room,
        arrived: Callable[[str], None],
        failed: Callable[[str, AdapterError], None],
        trace: Trace,
        first_backoff: float = FIRST_BACKOFF,
    ) -> None:
        """room: from an adapter and its bytes to where it goes; raises AdapterError where it may not."""
        self._loader = loader
        self._room = room
        self._arrived = arrived
        self._failed = failed
        self._trace = trace
        self._first_backoff = first_backoff
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._urgent: set[str] = set()

    def start(self, digest: str, traceparent: str = "", *, urgent: bool = True) -> None:
        """Begin to bring an adapter, unless that is under way. urgent: a request waits for it."""
        if digest not in self._tasks:
            if urgent:
                self._urgent.add(digest)
            self._tasks[digest] = asyncio.get_running_loop().create_task(self._run(digest, traceparent))

    def hasten(self, digest: str) -> None:
        """A request waits for what was begun without one."""
        if digest in self._tasks:
            self._urgent.add(digest)
            self._loader.hasten(digest)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, digest: str, traceparent: str) -> None:
        report = partial(self._arrived, digest)
        try:
            with self._trace(digest, traceparent) as onward:
                await self._bring(digest, onward)
        except Refused as refused:
            report = partial(self._failed, digest, refused.error)
        except AdapterError as error:
            report = partial(self._failed, digest, error)
        except Exception as error:
            log.exception("adapter fetch broke", extra={"digest": digest})
            broken = AdapterUnavailable(f"adapter {digest} was not fetched: {type(error).__name__}.")
            report = partial(self._failed, digest, broken)
        finally:
            del self._tasks[digest]
            self._urgent.discard(digest)
        report()  # last: whoever hears of it may ask for the adapter again

    async def _bring(self, digest: str, traceparent: str) -> None:
        for attempt in range(ATTEMPTS - 1):
            try:
                return await self._load(digest, traceparent)
            except AdapterUnavailable as error:
                delay = self._first_backoff * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secrecy
                log.warning("adapter fetch failed", extra={"digest": digest, "error": str(error), "retry_in": delay})
                await asyncio.sleep(delay)
        return await self._load(digest, traceparent)

    async def _load(self, digest: str, traceparent: str) -> None:
        urgent = digest in self._urgent
        await self._loader.load(digest, traceparent, urgent=urgent, room=self._room)
