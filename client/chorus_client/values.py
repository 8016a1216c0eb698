"""What the admin API tells, as values. Times are datetimes in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Visibility(StrEnum):
    """Who may use an adapter besides its owner."""

    PRIVATE = "private"
    SHARED = "shared"  # with the tenants that are named
    PUBLIC = "public"


class State(StrEnum):
    """Of a generation; REFUSED is an upload's end that made none."""

    UPLOADED = "uploaded"
    VALIDATED = "validated"
    PUBLISHED = "published"
    RETIRED = "retired"
    DELETED = "deleted"
    GONE = "gone"
    REFUSED = "refused"


class Tier(StrEnum):
    """Of an engine's memory."""

    HOST = "host"
    GPU = "gpu"  # its adapter slots, whatever the device


class EngineState(StrEnum):
    READY = "ready"
    DRAINING = "draining"  # it goes away
    STALLED = "stalled"  # its heart beats and its steps do not


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


@dataclass(frozen=True, slots=True)
class Activity:
    running: int  # answers that an engine works on
    waiting: int  # answers that wait for one
    tokens_per_second: float  # generated, over the last five seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantActivity(Activity):
    tenant: str


@dataclass(frozen=True, slots=True)
class EngineActivity:
    id: str
    address: str
    model: str
    state: str  # ready, draining, stalled, ejected or away
    running: int
    waiting: int
    kv_blocks: int
    kv_blocks_free: int
    slots: int
    slots_free: int


@dataclass(frozen=True, slots=True)
class Live:
    workers: int  # gateway workers that are counted
    complete: bool  # False: Redis is away, and one worker's requests alone are counted
    total: Activity
    tenants: tuple[TenantActivity, ...]  # busiest first
    others: Activity  # tenants that are not named
    engines: tuple[EngineActivity, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One generation of an adapter."""

    tenant: str
    name: str
    model: str
    generation: int
    digest: str
    rank: int  # the largest of any module
    modules: tuple[str, ...]
    bytes: int
    aliases: tuple[str, ...]
    created_at: datetime
    visibility: Visibility
    shared_with: tuple[str, ...]
    canary_of: Mapping[str, int]  # alias → its share of that alias's requests, percent
    state: State
    reason: str  # why it is retired or deleted


@dataclass(frozen=True, slots=True)
class Upload:
    adapter: Adapter
    created: bool  # False: these bytes were the latest generation already


@dataclass(frozen=True, slots=True)
class Canary:
    """A second generation of an alias, and its share of the requests in percent."""

    generation: int
    percent: int


@dataclass(frozen=True, slots=True)
class AliasChange:
    generation: int | None  # None: the alias was removed
    canary: Canary | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    generation: int | None  # None: an upload that was refused
    state: State
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Pin:
    """An adapter that is kept on engines whatever its demand."""

    tenant: str
    name: str
    version: str  # a generation's number or an alias, with which the pin moves
    tier: Tier
    engines: int  # on how many it is wanted; 0 is all of its base
    held: int  # engines that have it pinned by now


@dataclass(frozen=True, slots=True)
class HeldCounts:
    """Of the adapters that an engine holds."""

    gpu: int
    host: int
    loading: int
    pinned: int
    leases: int  # requests that hold one


@dataclass(frozen=True, slots=True)
class Engine:
    id: str
    address: str
    model: str
    state: EngineState
    started_at: datetime
    slots: int
    slots_free: int
    host_bytes: int  # host memory for adapters
    host_bytes_free: int
    adapters: HeldCounts
    drained: bool = False  # it drains by an administrator's order
    ejected_by: int = 0  # gateway processes that send it no requests but one at a time, as it failed


@dataclass(frozen=True, slots=True)
class Resident:
    """An adapter on an engine."""

    engine: str  # its id
    address: str
    engine_state: EngineState
    tier: Tier
    state: str  # loading, ready or draining
    leases: int
    pinned: bool
    last_use: datetime


@dataclass(frozen=True, slots=True)
class Residency:
    generation: int
    digest: str
    residents: tuple[Resident, ...]
