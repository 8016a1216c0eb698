"""The requests that hold no row, in order, grouped by adapter so that a group that cannot run costs nothing.

Groups are kept apart by where their adapter is, each kind in the order of the groups' first requests: however many
wait, a step looks only at those that it can do something for.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from itertools import chain, islice

from chorus_engine.core.request import Band
from chorus_engine.scheduler.sequence import Sequence
from chorus_engine.scheduler.whereabouts import Reach

Order = tuple[Band, float, float, int]


def _order(sequence: Sequence) -> Order:
    return sequence.order


class WaitingQueue:
    def __init__(self, reach: Callable[[str | None], Reach]) -> None:
        """`reach(digest)`: where the adapter is. Whoever changes that says so by `moved`."""
        self._reach = reach
        self._groups: dict[str | None, list[Sequence]] = {}  # adapter digest -> in order, never empty
        self._known: dict[str | None, Reach] = {}  # of each group
        self._heads: dict[Reach, list[tuple[Order, str | None]]] = {kind: [] for kind in Reach}  # in order
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, sequence: Sequence) -> None:
        digest = sequence.request.adapter
        group = self._groups.get(digest)
        if group is None:
            self._groups[digest] = [sequence]
            self._enter(digest)
        elif sequence.order < group[0].order:
            self._leave(digest)
            group.insert(0, sequence)
            self._enter(digest)
        else:
            insort(group, sequence, key=_order)
        self._count += 1

    def remove(self, sequence: Sequence) -> None:
        digest = sequence.request.adapter
        group = self._groups[digest]
        index = bisect_left(group, sequence.order, key=_order)
        assert group[index] is sequence, f"request {sequence.request.id} does not wait"
        if not index:
            self._leave(digest)
        del group[index]
        if not group:
            del self._groups[digest]
        elif not index:
            self._enter(digest)
        self._count -= 1

    def moved(self, digest: str) -> None:
        """The adapter may be elsewhere now."""
        if digest in self._groups and self._known[digest] is not self._reach(digest):
            self._leave(digest)
            self._enter(digest)

    def waits_for(self, digest: str) -> bool:
        return digest in self._groups

    def group(self, digest: str) -> tuple[Sequence, ...]:
        return tuple(self._groups.get(digest, ()))

    def first(self, digest: str) -> Sequence | None:
        """The request for the adapter that goes first."""
        group = self._groups.get(digest)
        return group[0] if group else None

    def everyone(self) -> Iterator[Sequence]:
        return chain.from_iterable(self._groups.values())

    def any(self, kind: Reach) -> bool:
        return bool(self._heads[kind])

    def adapters(self, kind: Reach, limit: int | None = None) -> list[str]:
        """Adapters waited for that are there, in the order of their first requests."""
        return [digest for _, digest in islice(self._heads[kind], limit) if digest is not None]

    def in_order(self) -> Iterator[Sequence]:
        """The requests that need a row alone, first to last. The caller removes each before it asks for the next."""
        ready = self._heads[Reach.READY]
        while ready:
            yield self._groups[ready[0][1]][0]

    def _enter(self, digest: str | None) -> None:
        kind = self._known[digest] = self._reach(digest)
        insort(self._heads[kind], (self._groups[digest][0].order, digest))

    def _leave(self, digest: str | None) -> None:
        heads = self._heads[self._known.pop(digest)]
        index = bisect_left(heads, (self._groups[digest][0].order,))
        assert heads[index][1] == digest
        del heads[index]

    def check(self) -> None:
        assert self._count == sum(map(len, self._groups.values()))
        for digest, group in self._groups.items():
            assert group
            assert all(sequence.request.adapter == digest for sequence in group)
            assert [s.order for s in group] == sorted(s.order for s in group)
        assert self._known == {digest: self._reach(digest) for digest in self._groups}, "somebody moved unsaid"
        for kind, heads in self._heads.items():
            groups = [(self._groups[digest][0].order, digest) for digest, known in self._known.items() if known is kind]
            assert heads == sorted(groups)
