"""When requests end by themselves."""

from heapq import heappop, heappush

from chorus_engine.scheduler.sequence import Sequence


class Deadlines:
    """A heap; what ended before its deadline is dropped when it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sequence]] = []

    def push(self, sequence: Sequence) -> None:
        deadline = sequence.request.deadline
        if deadline is not None:
            heappush(self._heap, (deadline, sequence.order[-1], sequence))

    def next(self) -> float | None:
        while self._heap and self._heap[0][2].finish is not None:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[Sequence]:
        due = []
        while (deadline := self.next()) is not None and deadline <= now:
            due.append(heappop(self._heap)[2])
        return due
