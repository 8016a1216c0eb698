"""What the admin API tells of tenants, keys, prices, usage and the audit log, as values. Times are datetimes in UTC,
money is Decimal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class ServiceTier(StrEnum):
    """A request's `service_tier`: which waits for which."""

    PRIORITY = "priority"
    DEFAULT = "default"
    FLEX = "flex"


class Period(StrEnum):
    """What a budget is for, in calendar time of UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"  # for ever


@dataclass(frozen=True, slots=True)
class UseLimits:
    """Of a key, or of a tenant's use of an adapter. None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # of prompt and output
    tokens_per_day: int | None = None  # likewise; days are UTC's
    concurrent_requests: int | None = None
    budget: Decimal | None = None  # money, in the currency of the prices
    budget_period: Period = Period.MONTH


@dataclass(frozen=True, slots=True)
class Limits(UseLimits):
    """Of a tenant."""

    adapters: int | None = None
    adapter_bytes: int | None = None
    adapter_rank: int | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    weight: float
    limits: Limits
    created_at: datetime
    tiers: tuple[ServiceTier, ...] = tuple(ServiceTier)  # that its requests may ask for
    default_max_tokens: int | None = None  # of a request that names no maximum
    suspended: bool = False  # its requests are refused


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    """Of one tenant's use of one adapter."""

    adapter: str  # "owner/name"
    limits: UseLimits


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    tenant: str | None  # None: an administrator's
    scopes: tuple[str, ...]
    name: str
    created_at: datetime
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None  # None: the key is good
    last_used_at: datetime | None = None  # to the minute or so
    limits: UseLimits = field(default_factory=UseLimits)  # beside its tenant's
    models: tuple[str, ...] | None = None  # that it may use, such as "base@adapter" or "base@*"; None is all
    networks: tuple[str, ...] | None = None  # from which it may be used; None is everywhere
    replaced_by: str | None = None  # the key that a rotation made of it


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(Key):
    key: str = field(repr=False)  # the key itself, shown this once


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens."""

    model: str
    input: Decimal
    cached: Decimal  # of the input, what was in the prefix cache
    output: Decimal
    adapter: str | None = None  # "owner/name"; None: the base, and whatever adapter has no price of its own


@dataclass(frozen=True, slots=True)
class Usage:
    """A sum over requests. Of tenant, key, adapter, model and day it has those that it was grouped by."""

    requests: int
    prompt_tokens: int
    cached_tokens: int  # of the prompts, what was in the prefix cache
    completion_tokens: int  # delivered
    computed_tokens: int  # by engines, in all
    cost: Decimal
    tenant: str | None = None
    key: str | None = None
    adapter: str | None = None
    model: str | None = None
    day: str | None = None  # such as 2026-11-21, in UTC


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One write by an administrator or a tenant, chained to the one before by its hash."""

    seq: int
    at: datetime
    actor: str  # a key's id
    client: str  # its address
    action: str
    object: str
    details: Mapping[str, Any]
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """Whether the log is what was written. `seq`: the first entry that is not; `reason` says what is wrong with it."""

    ok: bool
    entries: int  # that are good
    head: str  # number and hash of the last of them; who keeps it elsewhere sees later whether the log was cut short
    unfinished: int  # changes that were begun and are not in the log yet
    seq: int | None = None
    reason: str | None = None
