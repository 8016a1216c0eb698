"""Which requests have waited for a slot for too long."""

from bisect import insort
from collections.abc import Iterator
from heapq import heappop, heappush

from chorus_engine.scheduler.sequence import NO_ROW, Sequence


class Ripeness:
    """A waiting request is ripe after `patience` seconds, or early enough that a slot may drain before its deadline."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._ripening: list[tuple[float, int, Sequence]] = []  # a heap by when they are ripe
        self._ripe: list[tuple[float, int, Sequence]] = []  # by arrival; what waits no more is dropped now and then

    def push(self, sequence: Sequence) -> None:
        """It waits, for the first time or again."""
        request = sequence.request
        if request.adapter is None:
            return
        patience = self._patience
        if request.deadline is not None:
            patience = min(patience, (request.deadline - request.arrival) / 2)
        heappush(self._ripening, (request.arrival + patience, sequence.order[-1], sequence))

    def ripe(self, now: float) -> Iterator[Sequence]:
        """Those that wait, the longest waiting first. Nothing is pushed meanwhile."""
        while self._ripening and self._ripening[0][0] <= now:
            sequence = heappop(self._ripening)[2]
            if _waits(sequence):
                insort(self._ripe, (sequence.request.arrival, sequence.order[-1], sequence), key=_by_arrival)
        if not all(_waits(entry[2]) for entry in self._ripe[:1]):
            self._ripe = [entry for entry in self._ripe if _waits(entry[2])]
        return (entry[2] for entry in self._ripe if _waits(entry[2]))


def _by_arrival(entry: tuple[float, int, Sequence]) -> tuple[float, int]:
    return entry[:2]


def _waits(sequence: Sequence) -> bool:
    return sequence.row == NO_ROW and sequence.finish is None
