"""What the admin API tells of adapters and engines, as values. Times are datetimes in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
