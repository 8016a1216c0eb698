"""Brings adapters from the store into host memory, beside the step loop."""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from chorus_engine.adapters.convert import Layout, convert
from chorus_engine.adapters.host import AdapterFiles, HostAdapter
from chorus_engine.core.errors import AdapterError, AdapterUnavailable

log = logging.getLogger(__name__)

ATTEMPTS = 4
FIRST_BACKOFF = 0.2  # seconds, doubled each time

# Opens a span below a traceparent and gives the traceparent to send on.
Trace = Callable[[str, str], AbstractContextManager[str]]


class Store(Protocol):
    async def fetch(self, digest: str, traceparent: str = "") -> AdapterFiles: ...


class AdapterFetcher:
    """Fetches each digest once at a time, however often it is asked for, and reports each end exactly once.

    Lives on the event loop; hashing and conversion run in one worker thread, so that they neither stall the streams nor
    take more than one core from the step loop. A store that does not answer is tried again with backoff.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        *,
        arrived: Callable[[HostAdapter], None],
        failed: Callable[[str, AdapterError], None],
        trace: Trace,
        first_backoff: float = FIRST_BACKOFF,
    ) -> None:
        self._store = store
        self._layout = layout
        self._arrived = arrived
        self._failed = failed
        self._trace = trace
        self._first_backoff = first_backoff
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="adapter-convert")

    def start(self, digest: str, traceparent: str = "") -> None:
        """Begin to fetch an adapter, unless that is under way."""
        if digest not in self._tasks:
            self._tasks[digest] = asyncio.get_running_loop().create_task(self._run(digest, traceparent))

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _run(self, digest: str, traceparent: str) -> None:
        try:
            with self._trace(digest, traceparent) as onward:
                adapter = await self._bring(digest, onward)
            self._arrived(adapter)
        except AdapterError as error:
            self._failed(digest, error)
        except Exception as error:
            log.exception("adapter fetch broke", extra={"digest": digest})
            self._failed(digest, AdapterUnavailable(f"adapter {digest} was not fetched: {type(error).__name__}."))
        finally:
            del self._tasks[digest]

    async def _bring(self, digest: str, traceparent: str) -> HostAdapter:
        files = await self._fetch_patiently(digest, traceparent)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, convert, digest, files, self._layout)

    async def _fetch_patiently(self, digest: str, traceparent: str) -> AdapterFiles:
        for attempt in range(ATTEMPTS - 1):
            try:
                return await self._store.fetch(digest, traceparent)
            except AdapterUnavailable as error:
                delay = self._first_backoff * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secrecy
                log.warning("adapter fetch failed", extra={"digest": digest, "error": str(error), "retry_in": delay})
                await asyncio.sleep(delay)
        return await self._store.fetch(digest, traceparent)
