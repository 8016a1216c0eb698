"""Adapters in host memory, within a bound of bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable

from chorus_engine.adapters.host import HostAdapter, Weights


class HostCache:
    """Least recently used goes first, except what a request still waits to have copied into a slot.

    Owned by the loop's thread, so that an adapter never goes between a plan that copies it and the copy.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit  # bytes
        self.bytes = 0
        self._clock = clock
        self._adapters: OrderedDict[str, HostAdapter] = OrderedDict()  # least recently used first
        self._last_use: dict[str, float] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._adapters

    def __len__(self) -> int:
        return len(self._adapters)

    def get(self, digest: str) -> Weights:
        """Raises KeyError when the adapter is not held."""
        self._adapters.move_to_end(digest)
        self._last_use[digest] = self._clock()
        return self._adapters[digest].weights

    def holdings(self) -> tuple[tuple[str, float], ...]:
        """(digest, last use in seconds of the clock) of each adapter, least recently used first."""
        return tuple((digest, self._last_use[digest]) for digest in self._adapters)

    def put(self, adapter: HostAdapter, needed: Callable[[str], bool]) -> tuple[str, ...]:
        """Keep an adapter and return the digests that gave way to it.

        The bound yields only where all that is held is needed: by as much as the fetches bring that had begun.
        """
        assert adapter.digest not in self._adapters, f"adapter {adapter.digest} is held already"
        evicted = []
        for digest in [digest for digest in self._adapters if not needed(digest)]:
            if self.bytes + adapter.bytes <= self.limit:
                break
            self.bytes -= self._adapters.pop(digest).bytes
            del self._last_use[digest]
            evicted.append(digest)
        self._adapters[adapter.digest] = adapter
        self._last_use[adapter.digest] = self._clock()
        self.bytes += adapter.bytes
        return tuple(evicted)

    def full(self, needed: Callable[[str], bool]) -> bool:
        """Whether needed adapters alone take the whole bound."""
        return sum(adapter.bytes for digest, adapter in self._adapters.items() if needed(digest)) >= self.limit

    def check(self) -> None:
        assert self.bytes == sum(adapter.bytes for adapter in self._adapters.values())
        assert self._adapters.keys() == self._last_use.keys()
        assert all(digest == adapter.digest for digest, adapter in self._adapters.items())
