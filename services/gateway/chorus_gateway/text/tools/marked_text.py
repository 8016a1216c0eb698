"""Text up to a marker, as it arrives."""

from typing import NamedTuple


class Split(NamedTuple):
    text: str  # what comes before the marker and may be delivered
    marker: str = ""  # empty: none was found, and there is no rest
    rest: str = ""


class MarkedText:
    """Holds back what may still become one of `markers`, and the white space before it, which goes with the marker."""

    def __init__(self, *markers: str) -> None:
        self._markers = markers
        self._held = ""

    def feed(self, text: str) -> Split:
        self._held += text
        found = [(at, marker) for marker in self._markers if (at := self._held.find(marker)) >= 0]
        if found:
            at, marker = min(found)
            before, rest = self._held[:at], self._held[at + len(marker) :]
            self._held = ""
            return Split(before.rstrip(), marker, rest)
        ready = len(self._held[: self._decided()].rstrip())
        released, self._held = self._held[:ready], self._held[ready:]
        return Split(released)

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held

    def _decided(self) -> int:
        """Length of the held text without the longest end that is the beginning of a marker."""
        held, longest = self._held, max(map(len, self._markers))
        for begin in range(max(0, len(held) - longest + 1), len(held)):
            if any(marker.startswith(held[begin:]) for marker in self._markers):
                return begin
        return len(held)
