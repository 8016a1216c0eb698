"""How requests have fared at one engine, and whether it is worth sending it another: pure, on a clock.

An engine that fails is ejected for a time that doubles with each ejection. Then one request tries it: its first token
brings the engine back, its failure ejects it for longer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 30  # of the time that it is away: a float has no room for a thousand


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """Times in seconds. Failures within `burst` are one: a step that fails ends all requests in it at once."""

    in_a_row: int = 5  # failures
    rate: float = 0.5  # of the answers of a window and the one before that are failures …
    least: int = 20  # … where there were so many
    window: float = 15.0
    burst: float = 0.1
    first_away: float = 5.0
    longest_away: float = 300.0
    forgotten: float = 300.0  # so long after it came back, an engine's ejections count no more


class Health:
    def __init__(self, rules: EjectionRules | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules or EjectionRules()
        self._clock = clock
        self._until: float | None = None  # when it may be tried, while it is ejected
        self._trying = False  # a trial is under way
        self._ejections = 0  # that were not forgotten
        self._back_at = float("inf")  # never yet, or not since it was ejected
        self._in_a_row = 0
        self._failed_at = float("-inf")
        self._window_from = 0.0
        self._counts = [0, 0]  # answers and failures of this window
        self._before = [0, 0]  # and of the last one

    @property
    def ejected(self) -> bool:
        """Until a trial has gone well."""
        return self._until is not None

    @property
    def admits(self) -> bool:
        """Whether it may be sent a request: any, or the one that tries it."""
        return self._until is None or (not self._trying and self._clock() >= self._until)

    def sent(self) -> bool:
        """A request goes there. Whether it is a trial, which the calls below must be told."""
        self._trying = self._until is not None
        return self._trying

    def answered(self, trial: bool = False) -> bool:
        """A first token. True when this ends its ejection."""
        self._in_a_row = 0
        self._count(0)
        if self._until is None or not trial:
            return False
        self._until, self._trying = None, False
        self._back_at = self._clock()
        self._counts, self._before = [0, 0], [0, 0]
        return True

    def failed(self, trial: bool = False) -> bool:
        """By the engine's fault. True when it should be ejected now."""
        now = self._clock()
        if self._until is not None:
            self._trying = self._trying and not trial
            return trial
        if now - self._failed_at < self._rules.burst:
            return False
        self._failed_at = now
        self._in_a_row += 1
        self._count(1)
        return self._in_a_row >= self._rules.in_a_row or self._fails_often()

    def withdrawn(self, trial: bool) -> None:
        """A request ended there and says nothing about the engine. Another one may try it."""
        self._trying = self._trying and not trial

    def eject(self) -> float:
        """For how many seconds."""
        now = self._clock()
        if now - self._back_at > self._rules.forgotten:
            self._ejections = 0
        seconds = min(self._rules.first_away * 2.0 ** min(self._ejections, _MOST_DOUBLINGS), self._rules.longest_away)
        self._ejections += 1
        self._back_at = float("inf")
        self._until, self._trying = now + seconds, False
        self._in_a_row = 0
        return seconds

    def _count(self, failures: int) -> None:
        now = self._clock()
        if now - self._window_from > self._rules.window:
            recent = now - self._window_from <= 2 * self._rules.window
            self._before, self._counts = self._counts if recent else [0, 0], [0, 0]
            self._window_from = now
        self._counts[0] += 1
        self._counts[1] += failures

    def _fails_often(self) -> bool:
        answers, failures = (sum(pair) for pair in zip(self._counts, self._before, strict=True))
        return answers >= self._rules.least and failures >= self._rules.rate * answers
