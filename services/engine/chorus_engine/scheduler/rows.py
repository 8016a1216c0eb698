"""The rows: one for each request that runs, from its admission until the last step that used it is committed."""

from bisect import bisect_left, insort
from heapq import heapify, heappop, heappush

from chorus_engine.scheduler.sequence import Sequence


class RowTable:
    """A row is free, active, or leaving: it takes no further steps and waits for those in flight."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total))
        heapify(self._free)
        self._held: dict[int, Sequence] = {}
        self._active: list[Sequence] = []  # in order
        self._released: list[int] = []  # not yet told to the runner

    def __len__(self) -> int:
        """Rows held, leaving ones included."""
        return len(self._held)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def active(self) -> tuple[Sequence, ...]:
        return tuple(self._active)

    @property
    def num_active(self) -> int:
        return len(self._active)

    @property
    def held(self) -> tuple[Sequence, ...]:
        return tuple(self._held.values())

    @property
    def oldest_lease(self) -> float | None:
        """When the row that has leased an adapter slot for the longest time entered; rows are held in that order."""
        return next((sequence.entered for sequence in self._held.values() if sequence.slot is not None), None)

    def leaving(self) -> list[Sequence]:
        return [sequence for sequence in self._held.values() if not sequence.active]

    def next_free(self) -> int:
        return self._free[0]

    def enter(self, sequence: Sequence) -> None:
        """Takes row `next_free()`, which the sequence says it has."""
        row = heappop(self._free)
        assert row == sequence.row
        self._held[row] = sequence
        sequence.active = True
        insort(self._active, sequence, key=lambda other: other.order)

    def retire(self, sequence: Sequence) -> None:
        """Active becomes leaving."""
        index = bisect_left(self._active, sequence.order, key=lambda other: other.order)
        assert self._active[index] is sequence, f"request {sequence.request.id} is not active"
        del self._active[index]
        sequence.active = False

    def release(self, sequence: Sequence) -> None:
        """Leaving becomes free; the runner is told by the next plan."""
        del self._held[sequence.row]
        heappush(self._free, sequence.row)
        self._released.append(sequence.row)

    def take_released(self) -> tuple[int, ...]:
        released, self._released = tuple(self._released), []
        return released

    def check(self) -> None:
        """free + held == total; active rows are held and in order."""
        assert len(self._free) + len(self._held) == self.total
        assert set(self._free).isdisjoint(self._held)
        assert all(sequence.row == row for row, sequence in self._held.items())
        assert {s.row for s in self._active} == {row for row, sequence in self._held.items() if sequence.active}
        assert [s.order for s in self._active] == sorted(s.order for s in self._active)
        assert len(set(self._released)) == len(self._released)
