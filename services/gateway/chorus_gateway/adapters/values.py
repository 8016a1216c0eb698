"""What the adapter store knows, as values."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
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
    RETIRED = "retired"  # no new request may use it
    DELETED = "deleted"  # it can be restored for a while
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Transition:
    generation: int  # 0: an upload that was refused
    state: State
    reason: str
    at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Adapter:
    """One generation of an adapter."""

    tenant: str
    name: str
    model: str
    generation: int
    digest: str
    rank: int
    modules: tuple[str, ...]
    size: int  # bytes
    aliases: tuple[str, ...]
    created_at: float  # seconds since 1970
    visibility: Visibility = Visibility.PRIVATE
    shared_with: tuple[str, ...] = ()  # tenants
    state: State = State.PUBLISHED
    reason: str = ""  # of its being retired or deleted
    canary_of: Mapping[str, int] = field(default_factory=dict)  # alias → its share of that alias's requests, percent

    @property
    def outer_modules(self) -> frozenset[str]:
        """Of `modules`, those outside the layers."""
        return frozenset(name for name in self.modules if not name.startswith("layers."))


@dataclass(frozen=True, slots=True)
class Page:
    adapters: tuple[Adapter, ...]
    next: str  # token of the page that follows; empty at the end


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name means: one generation, or two of which the canary takes a share of the requests."""

    adapter: Adapter
    canary: Adapter | None = None
    percent: int = 0  # the canary's share


@dataclass(frozen=True, slots=True)
class Target:
    """What an alias points at. Generations; a canary of 0 is none."""

    generation: int
    canary: int = 0
    percent: int = 0


@dataclass(frozen=True, slots=True)
class AliasChange:
    target: Target | None  # None: the alias was removed
    changed_at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Download:
    """One file of an adapter, as it was uploaded."""

    size: int  # bytes
    sha256: str
    chunks: AsyncGenerator[bytes]


@dataclass(frozen=True, slots=True)
class UploadHeader:
    tenant: str
    name: str
    model: str


@dataclass(frozen=True, slots=True)
class Published:
    adapter: Adapter
    created: bool  # False when these bytes were the latest generation already


class Tier(StrEnum):
    """Of an engine's memory."""

    HOST = "host"
    GPU = "gpu"  # its adapter slots, whatever the device


@dataclass(frozen=True, slots=True)
class Pin:
    """An adapter that is kept on engines whatever its demand."""

    tenant: str
    name: str
    version: str  # a generation's number or an alias
    tier: Tier
    engines: int  # 0: all of its base
    held: int  # engines that have it pinned by now


@dataclass(frozen=True, slots=True)
class Resident:
    """An adapter on an engine."""

    digest: str
    tier: Tier
    state: str  # loading, ready or draining
    leases: int
    pinned: bool
    last_use: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Engine:
    engine_id: str
    address: str
    model: str
    draining: bool
    stalled: bool  # its heart beats and its steps do not
    started_at: float  # seconds since 1970
    slots: int
    free_slots: int
    host_bytes: int  # host memory for adapters
    host_bytes_free: int
    residents: tuple[Resident, ...] = ()
