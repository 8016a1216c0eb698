"""A small cache for look-ups that must not be stale for long: bounded, with a short life and invalidation."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    expires: float


class TtlCache(Generic[K, V]):
    """Least recently loaded entries go first. One look-up a key at a time; the others wait for its result.

    A look-up that was under way when its key was invalidated answers those who already waited, but is not kept.
    """

    def __init__(self, *, ttl: float, size: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        """`ttl` in seconds; 0 keeps nothing."""
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        entry = self._entries.get(key)
        if entry and entry.expires > self._clock():
            return entry.value
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.ensure_future(self._load(key, load))
            task.add_done_callback(_consume_error)
        return await asyncio.shield(task)

    def invalidate(self, key: K) -> None:
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def invalidate_where(self, matches: Callable[[K], bool]) -> None:
        for key in [key for key in (*self._entries, *self._loading) if matches(key)]:
            self.invalidate(key)

    def clear(self) -> None:
        self._entries.clear()
        self._loading.clear()

    async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        started = self._clock()
        try:
            value = await load()
            if self._loading.get(key) is asyncio.current_task():
                self._keep(key, value, started)
            return value
        finally:
            if self._loading.get(key) is asyncio.current_task():
                del self._loading[key]

    def _keep(self, key: K, value: V, started: float) -> None:
        if self._ttl <= 0:
            return
        self._entries[key] = _Entry(value, started + self._ttl)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


def _consume_error(task: "asyncio.Task[object]") -> None:
    # Every waiter may have been cancelled; then nobody else would look at the exception.
    if not task.cancelled():
        task.exception()
