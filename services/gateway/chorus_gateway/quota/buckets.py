"""A minute's limit: GCRA, as a backlog that time works off.

A limit of n a minute lets one through every 60/n s. What was let through early is backlog, and a whole minute of it is
allowed. The backlog is kept rather than the time at which it ends, since small numbers lose no precision. When a limit
is changed, the share of the minute that was used stays the same.
"""

import math
from dataclasses import dataclass, field

WINDOW = 60_000_000  # µs
EPSILON = 0.001  # µs that rounding may add up to
DIPS = 8


def charge(limit: int, amount: int) -> float:
    """µs of backlog."""
    return WINDOW / limit * amount


def fits(backlog: float, more: float) -> bool:
    return backlog + more <= WINDOW + EPSILON


@dataclass(slots=True)
class Dips:
    """How low the backlog has been since each arrival that may still give back.

    Had an arrival asked for less, every later backlog would be lower by that, but none below zero: where the bucket was
    nearly full at some time since, the rest would have been wasted then. So no more comes back than the least backlog
    that any later arrival found; otherwise a minute could grant its limit twice. Of those minima only the ones are kept
    that no later one undercuts, and of these the DIPS that differ most: fewer give back less, never more.
    """

    found: list[tuple[int, float]] = field(default_factory=list)  # (arrival, backlog), both growing

    def add(self, arrival: int, backlog: float) -> None:
        while self.found and self.found[-1][1] >= backlog:
            self.found.pop()
        self.found.append((arrival, backlog))
        if len(self.found) > DIPS:
            self._merge()

    def take(self, arrival: int, back: float) -> float:
        """How much of `back` the arrival may give back; later minima fall by as much."""
        later = next((backlog for at, backlog in self.found if at > arrival), math.inf)
        back = min(back, later)
        kept: list[tuple[int, float]] = []
        for at, backlog in self.found:
            if at > arrival:
                backlog -= back
                while kept and kept[-1][1] >= backlog:
                    kept.pop()
            kept.append((at, backlog))
        self.found = kept
        return back

    def _merge(self) -> None:
        least, at = math.inf, 0
        for index, ((_, low), (_, high)) in enumerate(zip(self.found, self.found[1:], strict=False)):
            loss = (high - low) / (low + 1)
            if loss <= least:
                least, at = loss, index
        self.found[at : at + 2] = [(self.found[at + 1][0], self.found[at][1])]
