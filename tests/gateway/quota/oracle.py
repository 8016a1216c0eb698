"""What a quota must do, from a list of all that it ever granted: slow, and too simple to be wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

from chorus_gateway.quota.base import Reservation, Subject, Used, Wanted
from chorus_gateway.quota.periods import number_of
from chorus_gateway.values import Period

MICROSECOND = 1e-6


@dataclass
class Grant:
    at: float
    wanted: Wanted
    reservation: Reservation
    end: float  # of its lease
    used: Used | None = None  # None while it runs
    gateway: int = 0
    dead: bool = False  # its gateway is
    counted: bool = True  # in the minute's buckets, which a loss of Redis empties

    @property
    def subjects(self) -> set[str]:
        return {subject.name for subject in self.wanted.subjects}


class Oracle:
    """It is also the ledger: what has ended is known there."""

    def __init__(self, now: float, lease: float) -> None:
        self.now = now
        self.lease = lease
        self.grants: list[Grant] = []

    def clock(self) -> float:
        return self.now

    @property
    def running(self) -> list[Grant]:
        return [grant for grant in self.grants if grant.used is None]

    @property
    def alive(self) -> list[Grant]:
        return [grant for grant in self.running if not grant.dead]

    def granted(self, wanted: Wanted, reservation: Reservation, gateway: int) -> None:
        self.grants.append(Grant(self.now, wanted, reservation, self.now + self.lease, gateway=gateway))

    def die(self, gateway: int) -> None:
        for grant in self.alive:
            grant.dead = grant.gateway == gateway

    def advance(self, seconds: float) -> None:
        """Leases whose time is over lapse: nobody says what they used, so it was all."""
        self.now += seconds
        for grant in self.running:
            if grant.end <= self.now:
                grant.used = Used(grant.wanted.tokens, grant.wanted.cost)

    def renew(self) -> None:
        for grant in self.alive:
            grant.end = self.now + self.lease

    def lose(self) -> None:
        """What a dead gateway had running is forgotten with Redis, until the ledger knows of it, which it does here."""
        for grant in self.grants:
            grant.counted = False
            if grant.dead and grant.used is None:
                grant.used = _whole(grant)

    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        ended = [grant.used for grant in self._of(subject, period) if grant.used is not None]
        return Used(sum(used.tokens for used in ended), sum(used.cost for used in ended))

    def must_refuse(self, wanted: Wanted) -> bool:
        return any(
            self._exact(subject, wanted) or self._minute(subject, wanted, truly=True) for subject in wanted.subjects
        )

    def must_grant(self, wanted: Wanted) -> bool:
        """What was given back of a minute may come back late, so between the two it is free."""
        return not any(
            self._exact(subject, wanted) or self._minute(subject, wanted, truly=False) for subject in wanted.subjects
        )

    def _of(self, subject: Subject, period: Period = Period.TOTAL) -> Iterator[Grant]:
        number = number_of(period, self.now)
        for grant in self.grants:
            if subject.name in grant.subjects and number_of(period, grant.at) == number:
                yield grant

    def _exact(self, subject: Subject, wanted: Wanted) -> bool:
        """Places, days and budgets, which are counted to the last one; and requests, of which none comes back."""
        limits = subject.limits
        places, day, budget = limits.concurrent_requests, limits.tokens_per_day, limits.budget
        running = [grant for grant in self.running if subject.name in grant.subjects]
        if places is not None and len(running) >= places:
            return True
        if day is not None:
            bills = [grant.used or _whole(grant) for grant in self._of(subject, Period.DAY)]
            if sum(bill.tokens for bill in bills) + wanted.tokens > day:
                return True
        if budget is not None:
            bills = [grant.used or _whole(grant) for grant in self._of(subject, limits.budget_period)]
            if sum(bill.cost for bill in bills) + wanted.cost > budget:
                return True
        return limits.requests_per_minute is not None and self._over(
            [(grant.at, 1) for grant in self._of(subject) if grant.counted], 1, limits.requests_per_minute
        )

    def _minute(self, subject: Subject, wanted: Wanted, *, truly: bool) -> bool:
        """Whether the minute's tokens are over if every request had asked for what it used, or nothing came back."""
        limit = subject.limits.tokens_per_minute
        charges = [
            (grant.at, (grant.used if truly and grant.used else _whole(grant)).tokens)
            for grant in self._of(subject)
            if grant.counted
        ]
        return limit is not None and self._over(charges, wanted.tokens, limit)

    def _over(self, charges: list[tuple[float, int]], more: int, limit: int) -> bool:
        backlog, last = 0.0, 0.0
        for at, amount in charges:
            backlog = max(0.0, backlog - (at - last)) + amount * 60 / limit
            last = at
        return max(0.0, backlog - (self.now - last)) + more * 60 / limit > 60 + 2 * MICROSECOND


def _whole(grant: Grant) -> Used:
    return Used(grant.wanted.tokens, grant.wanted.cost)
