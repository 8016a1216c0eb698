"""Stop strings, found across token borders."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on until one of `stops` occurs in it.

    Text that may still become a stop is held back, and nothing else. The first occurrence to be completed wins; among
    those completed by the same character, the one that began first. Stops are not empty.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._firsts = frozenset(stop[0] for stop in stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._include = include
        self._held = ""
        self.stopped = False

    @property
    def any(self) -> bool:
        return bool(self._stops)

    def feed(self, text: str) -> str:
        """The text that may be delivered now. Once `stopped` is true nothing more comes."""
        if not self._stops or self.stopped:
            return "" if self.stopped else text
        self._held += text
        found = self._first()
        if found is not None:
            begin, end = found
            self.stopped = True
            return self._release(end if self._include else begin)
        return self._release(len(self._held) - self._undecided())

    def flush(self) -> str:
        """What was held back and did not become a stop."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, count: int) -> str:
        ready, self._held = self._held[:count], self._held[count:]
        return ready

    def _first(self) -> tuple[int, int] | None:
        """(begin, end) of the occurrence that is completed first."""
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if not found:
            return None
        end, begin = min(found)
        return begin, end

    def _undecided(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop."""
        held = self._held
        for begin in range(max(0, len(held) - self._longest + 1), len(held)):
            if held[begin] in self._firsts and any(stop.startswith(held[begin:]) for stop in self._stops):
                return len(held) - begin
        return 0
