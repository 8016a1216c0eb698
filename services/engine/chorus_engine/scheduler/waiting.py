"""The requests that hold no row, in order, grouped by adapter so that a group that cannot run costs nothing."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import chain

from chorus_engine.core.request import Band
from chorus_engine.scheduler.sequence import Sequence

Order = tuple[Band, float, float, int]


def _order(sequence: Sequence) -> Order:
    return sequence.order


class WaitingQueue:
    def __init__(self) -> None:
        self._groups: dict[str | None, list[Sequence]] = {}  # adapter digest -> in order, never empty
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, sequence: Sequence) -> None:
        insort(self._groups.setdefault(sequence.request.adapter, []), sequence, key=_order)
        self._count += 1

    def remove(self, sequence: Sequence) -> None:
        digest = sequence.request.adapter
        group = self._groups[digest]
        index = bisect_left(group, sequence.order, key=_order)
        assert group[index] is sequence, f"request {sequence.request.id} does not wait"
        del group[index]
        if not group:
            del self._groups[digest]
        self._count -= 1

    def waits_for(self, digest: str) -> bool:
        return digest in self._groups

    def group(self, digest: str) -> tuple[Sequence, ...]:
        return tuple(self._groups.get(digest, ()))

    def everyone(self) -> Iterator[Sequence]:
        return chain.from_iterable(self._groups.values())

    def heads(self) -> list[tuple[str, Sequence]]:
        """The first request for each adapter, in order."""
        heads = [(digest, group[0]) for digest, group in self._groups.items() if digest is not None]
        return sorted(heads, key=lambda head: head[1].order)

    def in_order(self, ready: Callable[[str | None], bool]) -> Iterator[Sequence]:
        """The requests of ready adapters, first to last. The caller removes each before it asks for the next."""
        heads = [(group[0].order, digest) for digest, group in self._groups.items() if ready(digest)]
        heapify(heads)
        while heads:
            _, digest = heappop(heads)
            yield self._groups[digest][0]
            if group := self._groups.get(digest):
                heappush(heads, (group[0].order, digest))

    def check(self) -> None:
        assert self._count == sum(map(len, self._groups.values()))
        for digest, group in self._groups.items():
            assert group
            assert all(sequence.request.adapter == digest for sequence in group)
            assert [s.order for s in group] == sorted(s.order for s in group)
