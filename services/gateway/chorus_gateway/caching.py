"""A small cache for look-ups that must not be stale for long: bounded, with a short life and invalidation."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from chorus_gateway.errors import Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
PATIENCE = 0.5  # seconds for which a look-up is waited for where an old answer would do
FRESH = 0.5  # of an entry's life: whoever asks later has it loaded anew, and is answered from the old one meanwhile


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    fresh_until: float
    expires: float
    outlasts: float  # until when it may answer for a source that is away


class TtlCache(Generic[K, V]):
    """Least recently loaded entries go first. One look-up a key at a time; the others wait for its result.

    What is asked for all the time is loaded anew before its life is over, so that nobody waits for it. Values that are
    None are few and kept apart: whoever asks for much that does not exist pushes out nothing else.

    A look-up that was under way when its key was invalidated answers those who already waited, but is not kept.

    While `outlasting`, entries answer beyond their life where the look-up ends in Unavailable or takes too long, until
    one of any key succeeds: so they must be invalidated by whatever makes them wrong. None never answers so.
    """

    def __init__(
        self,
        *,
        ttl: float,
        outlast: float = 0.0,
        size: int = 10_000,
        absent_size: int = 1_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ttl` in seconds; 0 keeps nothing. `outlast`: seconds since its look-up for which an entry may answer for a
        source that is away."""
        self.outlasting = False
        self._away = False
        self._ttl = ttl
        self._outlast = outlast
        self._size = size
        self._absent_size = absent_size
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._absent: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._absent)

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        entry = self._entries.get(key) or self._absent.get(key)
        now = self._clock()
        if entry and entry.expires > now:
            if entry.fresh_until <= now and key not in self._loading:
                self._start(key, load)
            return entry.value
        task = self._loading.get(key) or self._start(key, load)
        if entry and self._outlasts(key, entry):
            if not self._away:
                await asyncio.wait({task}, timeout=PATIENCE)
                self._away = not task.done() or _is_away(task)
            if self._away and self._outlasts(key, entry):
                return entry.value
        return await asyncio.shield(task)

    def invalidate(self, key: K) -> None:
        self._entries.pop(key, None)
        self._absent.pop(key, None)
        self._loading.pop(key, None)

    def invalidate_where(self, matches: Callable[[K], bool]) -> None:
        for key in [key for key in (*self._entries, *self._absent, *self._loading) if matches(key)]:
            self.invalidate(key)

    def clear(self) -> None:
        self._entries.clear()
        self._absent.clear()
        self._loading.clear()

    def _outlasts(self, key: K, entry: _Entry[V]) -> bool:
        return self.outlasting and self._entries.get(key) is entry and entry.outlasts > self._clock()

    def _start(self, key: K, load: Callable[[], Awaitable[V]]) -> "asyncio.Task[V]":
        task = self._loading[key] = asyncio.ensure_future(self._load(key, load))
        task.add_done_callback(_consume_error)
        return task

    async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        started = self._clock()
        try:
            value = await load()
            self._away = False
            if self._loading.get(key) is asyncio.current_task():
                self._keep(key, value, started)
            return value
        finally:
            if self._loading.get(key) is asyncio.current_task():
                del self._loading[key]

    def _keep(self, key: K, value: V, started: float) -> None:
        if self._ttl <= 0:
            return
        kept, other = (self._entries, self._absent) if value is not None else (self._absent, self._entries)
        other.pop(key, None)
        kept[key] = _Entry(value, started + FRESH * self._ttl, started + self._ttl, started + self._outlast)
        kept.move_to_end(key)
        while len(kept) > (self._size if kept is self._entries else self._absent_size):
            kept.popitem(last=False)


def _is_away(task: "asyncio.Task[V]") -> bool:
    return not task.cancelled() and isinstance(task.exception(), Unavailable)


def _consume_error(task: "asyncio.Task[object]") -> None:
    # Every waiter may have been cancelled; then nobody else would look at the exception.
    if not task.cancelled():
        task.exception()
