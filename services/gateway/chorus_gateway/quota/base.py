"""Reserve, then settle: what a request may use at most is taken at its start, what it did not use is given back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from chorus_gateway.values import Limits

NOTHING = Limits()
FEW_PLACES = 64


class SubjectKind(StrEnum):
    """Whose use is limited. ADAPTER is a tenant's use of one adapter."""

    TENANT = "tenant"
    KEY = "key"
    ADAPTER = "adapter"


@dataclass(frozen=True)
class Subject:
    """One holder of limits. `id` is the tenant's, the key's, or the adapter's "owner/name"."""

    kind: SubjectKind
    id: str
    limits: Limits = NOTHING

    @cached_property
    def name(self) -> str:
        """Unique within its tenant."""
        return f"{self.kind.value}:{self.id}"

    @cached_property
    def bounded(self) -> bool:
        """Whether any limit of requests is set."""
        limits = self.limits
        return self.metered or any(
            limit is not None
            for limit in (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_requests)
        )

    @cached_property
    def metered(self) -> bool:
        """Whether it has a limit of a day or a budget, which must survive a loss of Redis."""
        return self.limits.tokens_per_day is not None or self.limits.budget is not None


@dataclass(frozen=True, slots=True)
class Used:
    tokens: int = 0  # prompt and output
    cost: int = 0  # billionths


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of all its subjects at once. `tokens` and `cost` are true upper bounds."""

    request_id: str
    tenant: str
    subjects: tuple[Subject, ...]  # all of this tenant, each once
    tokens: int
    cost: int = 0  # billionths

    @property
    def metered(self) -> bool:
        return any(subject.metered for subject in self.subjects)

    @property
    def spends(self) -> bool:
        """Whether it takes of what must survive a loss of Redis."""
        return self.metered and self.tokens > 0

    @property
    def pressing(self) -> bool:
        """Whether so few requests may be in flight that the next one may need this one's place at once."""
        places = (subject.limits.concurrent_requests for subject in self.subjects)
        return any(each is not None and each <= FEW_PLACES for each in places)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Held from `reserve` to `settle`; lapses by itself when nobody renews it."""

    id: str
    wanted: Wanted
    at: float  # seconds since 1970, by the quota's clock: the day and month that the request counts for
    headers: Mapping[str, str] = field(default_factory=dict)  # x-ratelimit-*


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What a tenant's requests in flight hold. All of it is zero once each is settled or has lapsed."""

    leases: int
    records: int  # one a lease
    in_flight: int  # over all subjects
    tokens: int  # held of days, over all subjects
    cost: int  # held of budgets, over all subjects


class Quota(Protocol):
    async def reserve(self, wanted: Wanted) -> Reservation:
        """Takes of every limit of every subject, all or none.

        RateLimited when it is not to be had now, and when to come back; QuotaExceeded when a day's tokens or a budget
        are spent; InvalidRequest when a limit could not grant it even unused; Unavailable when nobody can tell what
        is left of a day or a budget. What it may have taken for a caller that is cancelled meanwhile is given back.
        """
        ...

    async def settle(self, reservation: Reservation, used: Used) -> None:
        """Frees the place in flight and corrects the reservation to what was used, more or less.

        Only the first call for a reservation has an effect. Never raises for a store that is away: the reservation
        then lapses with its lease. Callers shield it from cancellation (SettlesBehind).
        """
        ...
