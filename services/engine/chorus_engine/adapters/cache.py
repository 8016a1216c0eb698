"""Adapters in host memory, within a bound of bytes."""

from collections import OrderedDict
from collections.abc import Callable

from chorus_engine.adapters.host import HostAdapter, Weights


class HostCache:
    """Least recently used goes first, except what a request still waits to have copied into a slot.

    Owned by the loop's thread, so that an adapter never goes between a plan that copies it and the copy.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit  # bytes
        self.bytes = 0
        self._adapters: OrderedDict[str, HostAdapter] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._adapters

    def __len__(self) -> int:
        return len(self._adapters)

    def get(self, digest: str) -> Weights:
        """Raises KeyError when the adapter is not held."""
        self._adapters.move_to_end(digest)
        return self._adapters[digest].weights

    def adapters(self) -> tuple[HostAdapter, ...]:
        """Least recently used first."""
        return tuple(self._adapters.values())

    def put(self, adapter: HostAdapter, needed: Callable[[str], bool]) -> tuple[str, ...]:
        """Keep an adapter and return the digests that gave way to it.

        The bound yields only where all that is held is needed: by as much as arrives while no fetch is begun (`full`).
        """
        assert adapter.digest not in self._adapters, f"adapter {adapter.digest} is held already"
        evicted = []
        for digest in [d for d in self._adapters if not needed(d)]:
            if self.bytes + adapter.bytes <= self.limit:
                break
            self.bytes -= self._adapters.pop(digest).bytes
            evicted.append(digest)
        self._adapters[adapter.digest] = adapter
        self.bytes += adapter.bytes
        return tuple(evicted)

    def full(self, needed: Callable[[str], bool]) -> bool:
        """Whether needed adapters alone take the whole bound."""
        return sum(a.bytes for a in self._adapters.values() if needed(a.digest)) >= self.limit

    def check(self) -> None:
        assert self.bytes == sum(adapter.bytes for adapter in self._adapters.values())
        assert all(digest == adapter.digest for digest, adapter in self._adapters.items())
