"""The loop's side of the adapters' way: which fetches run, and what host memory holds."""

from collections import deque
from collections.abc import Callable

from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.host import HostAdapter

MAX_FETCHES = 4  # at once; also by how many adapters the cache's bound can be passed


class AdapterSupply:
    """Starts the fetches that are wanted, in order, while host memory has room for what they bring.

    Used from the loop's thread alone. `start(digest)` must not block and ends, later, in `arrived` or `failed`.
    """

    def __init__(self, cache: HostCache, start: Callable[[str], None]) -> None:
        self._cache = cache
        self._start = start
        self._queue: deque[str] = deque()
        self._running: set[str] = set()

    def want(self, digest: str) -> None:
        self._queue.append(digest)

    def pump(self, needed: Callable[[str], bool]) -> None:
        """Start what can start. `needed(digest)`: a request waits for the adapter and no slot has it."""
        while self._queue and len(self._running) < MAX_FETCHES and not self._cache.full(needed):
            digest = self._queue.popleft()
            self._running.add(digest)
            self._start(digest)

    def arrived(self, adapter: HostAdapter, needed: Callable[[str], bool]) -> tuple[str, ...]:
        """Keep the adapter; return the digests that host memory holds no more."""
        self._running.discard(adapter.digest)
        return self._cache.put(adapter, needed)

    def failed(self, digest: str) -> None:
        self._running.discard(digest)
