"""What one subject has used: the rules that account.lua repeats inside Redis.

Law: `held` of every counter is the sum of what its leases hold, and `in_flight` their number; both are zero when all
requests are settled or lapsed.
"""

from dataclasses import dataclass, field

from chorus_gateway.quota.base import Used
from chorus_gateway.quota.buckets import Dips, charge, fits
from chorus_gateway.quota.periods import number_of
from chorus_gateway.values import Limits, Period


@dataclass(slots=True)
class Counter:
    """Spent and held in one period. A later period begins at nothing; what a request used counts for the period that it
    was admitted in, whenever it ends."""

    period: Period
    number: int
    spent: int = 0
    held: int = 0

    def roll(self, now: float) -> "Counter":
        number = number_of(self.period, now)
        if number > self.number:
            self.number, self.spent, self.held = number, 0, 0
        return self

    def close(self, held: int, used: int, taken_at: float, now: float) -> None:
        if number_of(self.period, taken_at) == self.roll(now).number:
            self.held = max(0, self.held - held)
            self.spent += used


@dataclass(frozen=True, slots=True)
class Taken:
    """What a lease holds of one account. Also of limits that it had then and has no more."""

    subject: str
    account: "Account"
    arrival: int
    tokens: int
    cost: int
    at: float
    microseconds: float  # a token, in the minute's bucket
    counters: tuple[Counter | None, Counter | None]  # those of day and budget that hold it


@dataclass(slots=True)
class Account:
    """Times are in seconds since 1970, backlogs in µs."""

    at: float
    requests: float | None = None
    tokens: float | None = None
    in_flight: int = 0
    arrivals: int = 0
    dips: Dips = field(default_factory=Dips)
    day: Counter | None = None
    budget: Counter | None = None

    def advance(self, now: float) -> None:
        passed = max(0, round((now - self.at) * 1e6))
        self.requests = None if self.requests is None else max(0.0, self.requests - passed)
        self.tokens = None if self.tokens is None else max(0.0, self.tokens - passed)
        self.at = max(now, self.at)

    def bound(self, limits: Limits) -> None:
        """Buckets of new limits begin full; those of limits that are gone are forgotten, and so are their counts."""
        self.requests = None if limits.requests_per_minute is None else self.requests or 0.0
        self.tokens = None if limits.tokens_per_minute is None else self.tokens or 0.0
        if limits.tokens_per_day is None:
            self.day = None
        if limits.budget is None or (self.budget and self.budget.period is not limits.budget_period):
            self.budget = None

    def knows(self, limits: Limits) -> bool:
        """Whether every counter that the limits need is there."""
        return (limits.tokens_per_day is None or self.day is not None) and (
            limits.budget is None or self.budget is not None
        )

    def grants(self, limits: Limits, tokens: int, cost: int) -> bool:
        """After `advance` and `bound`, of an account that knows its counters."""
        return (
            (self.requests is None or fits(self.requests, charge(limits.requests_per_minute or 1, 1)))
            and (self.tokens is None or fits(self.tokens, charge(limits.tokens_per_minute or 1, tokens)))
            and (limits.concurrent_requests is None or self.in_flight < limits.concurrent_requests)
            and _room(self.day, limits.tokens_per_day, tokens)
            and _room(self.budget, limits.budget, cost)
        )

    def take(self, subject: str, limits: Limits, tokens: int, cost: int) -> Taken:
        self.in_flight += 1
        self.arrivals += 1
        microseconds = 0.0
        if self.requests is not None:
            self.requests += charge(limits.requests_per_minute or 1, 1)
        if self.tokens is not None:
            microseconds = charge(limits.tokens_per_minute or 1, 1)
            self.dips.add(self.arrivals, self.tokens)
            self.tokens += tokens * microseconds
        if self.day:
            self.day.held += tokens
        if self.budget:
            self.budget.held += cost
        counters = (self.day, self.budget)
        return Taken(subject, self, self.arrivals, tokens, cost, self.at, microseconds, counters)

    def release(self, taken: Taken, used: Used | None) -> None:
        """Ends what was taken. `used` None: nobody said what it came to, so all of it counts."""
        ours = taken.account is self
        if ours:
            self.in_flight -= 1
            if used is not None and taken.microseconds:
                self._refund(taken.arrival, (taken.tokens - used.tokens) * taken.microseconds)
        day, budget = taken.counters
        tokens, cost = (taken.tokens, taken.cost) if used is None else (used.tokens, used.cost)
        if self.day:
            self.day.close(taken.tokens if self.day is day else 0, tokens, taken.at, self.at)
        if self.budget:
            self.budget.close(taken.cost if self.budget is budget else 0, cost, taken.at, self.at)

    def _refund(self, arrival: int, back: float) -> None:
        if self.tokens is None:
            return
        if back > 0:
            back = self.dips.take(arrival, min(back, self.tokens))
        self.tokens -= back


def _room(counter: Counter | None, limit: int | None, wanted: int) -> bool:
    return counter is None or limit is None or counter.spent + counter.held + wanted <= limit
