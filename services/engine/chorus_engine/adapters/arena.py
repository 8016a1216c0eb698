"""Which part of the host's memory for adapters is whose: spans of one region, best fit, neighbours made one."""

from bisect import bisect_left, insort
from dataclasses import dataclass

ALIGNMENT = 256  # bytes; whatever a copy engine or a vector unit may like


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the region from `begin`; the rest of its last `ALIGNMENT` bytes is nobody's."""

    begin: int
    bytes: int

    @property
    def end(self) -> int:
        return self.begin + _aligned(self.bytes)


class Arena:
    """free + used == total. Only counts: the memory itself is a `Region`."""

    def __init__(self, total: int) -> None:
        self.total = total // ALIGNMENT * ALIGNMENT  # bytes
        self.free = 0
        self._spans: dict[int, Span] = {}  # by where they begin
        self._ends: dict[int, int] = {}  # holes: where one begins -> where it ends
        self._begins: dict[int, int] = {}  # and the other way round
        self._by_size: list[tuple[int, int]] = []  # holes: (bytes, begin), smallest first
        if self.total:
            self._add_hole(0, self.total)

    @property
    def used(self) -> int:
        return self.total - self.free

    def allocate(self, size: int) -> Span | None:
        """The smallest hole that is large enough, from its beginning. None when there is no such hole."""
        assert size > 0, "a span has bytes"
        place = bisect_left(self._by_size, (_aligned(size), 0))
        if place == len(self._by_size):
            return None
        _, begin = self._by_size[place]
        span = Span(begin, size)
        end = self._take_hole(begin)
        if span.end < end:
            self._add_hole(span.end, end)
        self._spans[begin] = span
        return span

    def release(self, span: Span) -> None:
        assert self._spans.get(span.begin) == span, f"{span} is not allocated"
        del self._spans[span.begin]
        begin, end = span.begin, span.end
        if begin in self._begins:
            begin = self._begins[begin]
            self._take_hole(begin)
        if end in self._ends:
            end = self._take_hole(end)
        self._add_hole(begin, end)

    def trial(self) -> "Arena":
        """A copy, to see what would fit."""
        copy = Arena(0)
        copy.total, copy.free = self.total, self.free
        copy._spans, copy._ends, copy._begins = self._spans.copy(), self._ends.copy(), self._begins.copy()
        copy._by_size = self._by_size.copy()
        return copy

    def _add_hole(self, begin: int, end: int) -> None:
        self._ends[begin], self._begins[end] = end, begin
        insort(self._by_size, (end - begin, begin))
        self.free += end - begin

    def _take_hole(self, begin: int) -> int:
        """Where it ended."""
        end = self._ends.pop(begin)
        del self._begins[end]
        del self._by_size[bisect_left(self._by_size, (end - begin, begin))]
        self.free -= end - begin
        return end

    def check(self) -> None:
        """Spans and holes cover the region once, and no two holes touch."""
        pieces = sorted([(span.begin, span.end) for span in self._spans.values()] + list(self._ends.items()))
        assert [begin for begin, _ in pieces] == [0, *(end for _, end in pieces)][: len(pieces)]
        assert (pieces[-1][1] if pieces else 0) == self.total
        assert self._begins == {end: begin for begin, end in self._ends.items()}
        assert self._by_size == sorted((end - begin, begin) for begin, end in self._ends.items())
        assert self._ends.keys().isdisjoint(self._begins), "two holes touch"
        assert self.free == sum(size for size, _ in self._by_size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
