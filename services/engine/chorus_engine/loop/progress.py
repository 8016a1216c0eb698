"""Whether the loop gets on, for whoever watches from another thread."""

from dataclasses import dataclass

FADES = 0.99  # a step: a long one is forgotten after some hundred
# How much longer than those before it a step may be and count in full: one that compiled a kernel, or hung, is no
# measure for the next.
GROWTH = 2
GRACE = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Pulse:
    beats: int  # steps that ended and rests, so far
    busy: bool  # something is under way, so that the next beat ought to come soon
    longest: float  # seconds, of the steps lately


class Progress:
    """Written on the loop's thread. Each attribute is one value, so that a reader on another thread sees it whole."""

    def __init__(self) -> None:
        self._beats = 0
        self._busy = False
        self._longest = 0.0

    def wakes(self) -> None:
        self._busy = True

    def step(self, seconds: float) -> None:
        self._beats += 1
        self._longest = max(min(seconds, GROWTH * self._longest + GRACE), self._longest * FADES)

    def rests(self, *, running: bool) -> None:
        """Nothing can be done until something comes. With requests running, for which there ought to be, it is none."""
        self._beats += not running
        self._busy = running

    def pulse(self) -> Pulse:
        return Pulse(self._beats, self._busy, self._longest)
