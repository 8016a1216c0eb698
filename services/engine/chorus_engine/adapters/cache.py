"""Adapters in host memory: spans of one region, given to those that are worth most."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from chorus_engine.adapters.arena import Arena, Span
from chorus_engine.adapters.eviction import EvictionPolicy, ReloadCost
from chorus_engine.adapters.host import HostAdapter, Weights
from chorus_engine.core.load import Hosted, HostMemory


@dataclass(slots=True, eq=False)
class _Entry:
    digest: str
    span: Span
    last_use: float
    value: float = inf  # when it was last looked at
    seconds: float = 0.0  # to bring it back
    adapter: HostAdapter | None = None  # none while its bytes are being written
    pinned: bool = False
    fetched_for: bool = False  # a request had it fetched and has not taken it yet

    @property
    def room(self) -> int:
        return self.span.end - self.span.begin


class HostCache:
    """What a request needs (`needed`), what is pinned and what is being written stays; the rest gives way in the order
    of the policy, and only as much as is in the way.

    Owned by the loop's thread. `needed(digest)` must be true for as long as a copy out of the adapter's span may be
    under way. `dropped(digest)` is told of each adapter that went.
    """

    def __init__(
        self,
        total: int,
        policy: EvictionPolicy,
        needed: Callable[[str], bool],
        dropped: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arena = Arena(total)
        self._policy = policy
        self._needed = needed
        self._dropped = dropped
        self._clock = clock
        self._cost = ReloadCost()
        self._entries: dict[str, _Entry] = {}
        self._order: list[tuple[float, str]] = []  # a heap; values only grow, and are put right when they come up
        self._count = 0  # adapters
        self._coming = 0  # bytes of spans that are being written
        self.changed: set[str] = set()  # adapters of which `state` says something else, until somebody takes them
        self.pinned = 0  # bytes
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    @property
    def limit(self) -> int:
        return self._arena.total

    @property
    def pinnable(self) -> int:
        return self._arena.total // 2

    def __contains__(self, digest: str) -> bool:
        entry = self._entries.get(digest)
        return entry is not None and entry.adapter is not None

    def __len__(self) -> int:
        return self._count

    def get(self, digest: str) -> Weights:
        """For a copy into a slot. Raises KeyError when the adapter is not held."""
        entry = self._entries[digest]
        if entry.adapter is None:
            raise KeyError(digest)
        entry.last_use = self._clock()
        if entry.fetched_for:
            entry.fetched_for = False
        else:
            self.hits += 1
            self._policy.asked(digest, entry.last_use)
        return entry.adapter.weights

    def missed(self, digest: str) -> None:
        """A request needs an adapter that is not held."""
        self.misses += 1
        self._policy.asked(digest, self._clock())

    # ---------------------------------------------------------------- spans

    def reserve(self, digest: str, size: int, *, spare: bool) -> Span | None:
        """Room for an adapter whose bytes come. None, and nothing is evicted, when there is not enough.

        spare: nothing gives way that is worth more than the adapter would be if one request asked for it now.
        """
        if (entry := self._entries.get(digest)) is not None:
            assert entry.adapter is None, f"adapter {digest} is held already"
            if entry.span.bytes == size:
                return entry.span
            self.release(digest)
        now = self._clock()
        worth = self._policy.value(digest, size, self._cost(size), now, asked=True) if spare else inf
        span = self._arena.allocate(size)
        if span is None and self._make_room(size, worth, now):
            span = self._arena.allocate(size)
        if span is not None:
            entry = self._entries[digest] = _Entry(digest, span, now)
            self._coming += entry.room
            self.changed.add(digest)
        return span

    def put(self, adapter: HostAdapter, seconds: float, *, requested: bool) -> None:
        """The bytes of a span that was reserved are there, after so many seconds. requested: for a request."""
        entry = self._entries[adapter.digest]
        assert entry.adapter is None, f"adapter {adapter.digest} is held already"
        size, now = entry.span.bytes, self._clock()
        self._cost.came(size, seconds)
        entry.adapter, entry.last_use, entry.seconds = adapter, now, self._cost(size)
        entry.fetched_for = requested
        if not requested:
            self._policy.asked(adapter.digest, now)  # or it would be the first to go
        self._count += 1
        self._coming -= entry.room
        self._line_up(entry, self._value(entry, now))
        self.changed.add(adapter.digest)

    def release(self, digest: str) -> None:
        """Of a reservation, or of an adapter that nobody needs."""
        self.unpin(digest)
        entry = self._entries.pop(digest)
        self._arena.release(entry.span)
        self.changed.add(digest)
        if entry.adapter is None:
            self._coming -= entry.room
        else:
            self._count -= 1
            self._dropped(digest)

    def is_reserved(self, digest: str) -> bool:
        return digest in self._entries and digest not in self

    def is_needed(self, digest: str) -> bool:
        """Or pinned."""
        return self._entries[digest].pinned or self._needed(digest)

    def may_find_room(self) -> bool:
        """Whether something that does not give way now will: what is written or needed, not what is pinned alone."""
        return any(
            entry.adapter is None or (not entry.pinned and self._needed(digest))
            for digest, entry in self._entries.items()
        )

    # ---------------------------------------------------------------- pins

    def can_pin(self, size: int) -> bool:
        return self.pinned + Span(0, size).end <= self.pinnable

    def pin(self, digest: str) -> None:
        """The caller has asked `can_pin`."""
        entry = self._entries[digest]
        if not entry.pinned:
            entry.pinned = True
            self.pinned += entry.room
            self.changed.add(digest)

    def unpin(self, digest: str) -> None:
        entry = self._entries.get(digest)
        if entry is not None and entry.pinned:
            entry.pinned = False
            self.pinned -= entry.room
            self.changed.add(digest)

    def is_pinned(self, digest: str) -> bool:
        return self._entries[digest].pinned

    def size(self, digest: str) -> int:
        return self._entries[digest].span.bytes

    # ---------------------------------------------------------------- what others may know

    def state(self, digest: str) -> Hosted | None:
        """Of an adapter that is held."""
        entry = self._entries.get(digest)
        if entry is None or entry.adapter is None:
            return None
        return Hosted(digest, "ready", entry.span.bytes, entry.pinned, entry.last_use)

    def memory(self) -> HostMemory:
        """What waiting requests need counts as available: it will be in a moment."""
        return HostMemory(
            total=self._arena.total,
            used=self._arena.used,
            available=self._arena.total - self._coming - self.pinned,
            pinned=self.pinned,
            pinnable=self.pinnable,
            hits=self.hits,
            misses=self.misses,
            evictions=self.evictions,
        )

    def check(self) -> None:
        self._arena.check()
        entries = self._entries.values()
        assert self._arena.used == sum(entry.room for entry in entries)
        assert self.pinned == sum(entry.room for entry in entries if entry.pinned) <= self.pinnable
        assert self._coming == sum(entry.room for entry in entries if entry.adapter is None)
        held = [(entry.value, entry.digest) for entry in entries if entry.adapter is not None]
        assert len(held) == self._count
        assert set(held) <= set(self._order), "each adapter may come up"

    # ---------------------------------------------------------------- eviction

    def _value(self, entry: _Entry, now: float) -> float:
        return self._policy.value(entry.digest, entry.span.bytes, entry.seconds, now)

    def _line_up(self, entry: _Entry, value: float) -> None:
        entry.value = value
        heappush(self._order, (value, entry.digest))
        if len(self._order) > 2 * len(self._entries) + 64:  # adapters that were dropped left their places
            self._order = sorted((e.value, e.digest) for e in self._entries.values() if e.adapter is not None)

    def _make_room(self, size: int, worth: float, now: float) -> bool:
        """Evict what is in the way of `size` bytes; whether adapters worth less than `worth` were enough."""
        trial = self._arena.trial()
        looked_at: list[_Entry] = []
        while (found := trial.allocate(size)) is None:
            victim = self._pop_least(now, looked_at)
            if victim is None or victim.value >= worth:
                break
            trial.release(victim.span)
        for entry in looked_at:
            heappush(self._order, (entry.value, entry.digest))
        if found is None:
            return False
        # A hole needs neighbours: others that are worth little but lie elsewhere may as well stay.
        for entry in looked_at:
            if entry.span.begin < found.end and found.begin < entry.span.end:
                self.release(entry.digest)
                self.evictions += 1
        return True

    def _pop_least(self, now: float, looked_at: list[_Entry]) -> _Entry | None:
        """The adapter of the least value that may give way. It and those that may not are out of the order now."""
        while self._order:
            value, digest = heappop(self._order)
            entry = self._entries.get(digest)
            if entry is None or entry.value != value:
                continue  # it went, or is there with another value
            entry.value = self._value(entry, now)
            if entry.value > value:
                heappush(self._order, (entry.value, digest))
                continue
            looked_at.append(entry)
            if not self.is_needed(digest):
                return entry
        return None
