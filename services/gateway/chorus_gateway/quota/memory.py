"""Quotas in this process alone: for tests, and for the time that Redis is away."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chorus_gateway.quota.account import Account, Counter, Taken
from chorus_gateway.quota.base import Outstanding, Reservation, Subject, Used, Wanted
from chorus_gateway.quota.level import Level
from chorus_gateway.quota.periods import number_of
from chorus_gateway.quota.spent import NothingSpent, Spent
from chorus_gateway.quota.verdict import answer, refuse_impossible
from chorus_gateway.values import Period


@dataclass(slots=True)
class _Lease:
    end: float
    taken: list[Taken]


@dataclass(slots=True)
class _Tenant:
    accounts: dict[str, Account] = field(default_factory=dict)
    leases: dict[str, _Lease] = field(default_factory=dict)


class MemoryQuota:
    """The same rules as the scripts in Redis, but nothing renews a lease."""

    def __init__(
        self, spent: Spent | None = None, *, lease: float = 900.0, clock: Callable[[], float] = time.time
    ) -> None:
        """`lease` in seconds: the longest that a request which is never settled holds its place."""
        self._spent = spent or NothingSpent()
        self._lease = lease
        self._clock = clock
        self._tenants: dict[str, _Tenant] = {}
        self._serial = itertools.count()

    async def reserve(self, wanted: Wanted) -> Reservation:
        refuse_impossible(wanted)
        tenant = self._tenant(wanted.tenant)
        bounded = [subject for subject in wanted.subjects if subject.bounded]
        for subject in wanted.subjects:
            if not subject.bounded:
                tenant.accounts.pop(subject.name, None)
        while unknown := [
            each for each in bounded if not self._account(tenant, each, self._clock()).knows(each.limits)
        ]:
            for subject in unknown:
                await self._count(wanted.tenant, tenant, subject)
        now = self._clock()
        accounts = [(each, self._account(tenant, each, now)) for each in bounded]
        granted = all(account.grants(each.limits, wanted.tokens, wanted.cost) for each, account in accounts)
        reservation_id = f"{wanted.request_id}.{next(self._serial)}"
        if granted and accounts:
            taken = [account.take(each.name, each.limits, wanted.tokens, wanted.cost) for each, account in accounts]
            tenant.leases[reservation_id] = _Lease(now + self._lease, taken)
        levels = [_level(account) for _, account in accounts]
        return answer(wanted, reservation_id, now, granted, levels)

    async def settle(self, reservation: Reservation, used: Used) -> None:
        tenant = self._tenant(reservation.wanted.tenant)
        lease = tenant.leases.pop(reservation.id, None)
        if lease is not None:
            _release(tenant, lease, used, self._clock())

    async def outstanding(self, tenant: str) -> Outstanding:
        leases, now = self._tenant(tenant).leases, self._clock()
        accounts = self._tenant(tenant).accounts.values()
        return Outstanding(
            len(leases),
            len(leases),
            sum(account.in_flight for account in accounts),
            sum(account.day.roll(now).held for account in accounts if account.day),
            sum(account.budget.roll(now).held for account in accounts if account.budget),
        )

    def _tenant(self, name: str) -> _Tenant:
        """With lapsed leases gone."""
        tenant, now = self._tenants.setdefault(name, _Tenant()), self._clock()
        for reservation, lease in list(tenant.leases.items()):
            if lease.end > now:
                break  # they are in the order of their ends
            del tenant.leases[reservation]
            _release(tenant, lease, None, now)
        return tenant

    def _account(self, tenant: _Tenant, subject: Subject, now: float) -> Account:
        account = tenant.accounts.setdefault(subject.name, Account(at=now))
        account.advance(now)
        account.bound(subject.limits)
        for counter in (account.day, account.budget):
            if counter is not None:
                counter.roll(now)
        return account

    async def _count(self, name: str, tenant: _Tenant, subject: Subject) -> None:
        """Asks the ledger for what the account does not know."""
        limits = subject.limits
        account = self._account(tenant, subject, self._clock())
        if limits.tokens_per_day is not None and account.day is None:
            spent = (await self._spent.spent(name, subject, Period.DAY)).tokens
            account.day = account.day or Counter(Period.DAY, number_of(Period.DAY, self._clock()), spent)
        if limits.budget is not None and account.budget is None:
            period = limits.budget_period
            spent = (await self._spent.spent(name, subject, period)).cost
            account.budget = account.budget or Counter(period, number_of(period, self._clock()), spent)


def _release(tenant: _Tenant, lease: _Lease, used: Used | None, now: float) -> None:
    for taken in lease.taken:
        account = tenant.accounts.get(taken.subject)
        if account is not None:
            account.advance(now)
            account.release(taken, used)


def _level(account: Account) -> Level:
    day, budget = account.day, account.budget
    return Level(
        in_flight=account.in_flight,
        requests=account.requests or 0.0,
        tokens=account.tokens or 0.0,
        day_spent=day.spent if day else 0,
        day_held=day.held if day else 0,
        budget_spent=budget.spent if budget else 0,
        budget_held=budget.held if budget else 0,
    )
