"""Engines and demand as the registry tells them, and what engines are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chorus_adapter_store.values import PlacedFile, Tier


@dataclass(frozen=True, slots=True)
class Held:
    """An adapter in an engine, by the highest tier that it has there."""

    digest: str
    tier: Tier
    state: str = "ready"  # or loading, or draining
    bytes: int = 0  # in that tier; 0 is unknown
    leases: int = 0
    last_use: float = 0.0  # seconds since 1970
    pinned: Tier | None = None

    @property
    def usable(self) -> bool:
        """Now or soon."""
        return self.state != "draining"


@dataclass(frozen=True, slots=True)
class Engine:
    """Bytes are for adapters alone; free ones include what the engine would give up for something better."""

    engine_id: str
    address: str
    model: str
    base_digest: str
    started_at: float = 0.0  # seconds since 1970
    max_num_seqs: int = 0
    max_lora_rank: int = 0
    outer_modules: frozenset[str] | None = None  # that it has LoRA on; None is unknown
    draining: bool = False  # as it says itself
    drained: bool = False  # by an administrator's order
    stalled: bool = False
    slots: int = 0
    slots_free: int = 0
    pool_bytes: int = 0
    pool_bytes_free: int = 0
    host_bytes: int = 0
    host_bytes_free: int = 0
    pin_bytes: int = 0  # of the pool, how much may be pinned
    pin_bytes_free: int = 0
    term: int = 0  # the highest that it has accepted
    held: Mapping[str, Held] = field(default_factory=dict)  # by digest

    @property
    def placeable(self) -> bool:
        """Whether it is told anything. One without slots serves no adapters, or is too old to say."""
        return self.slots > 0 and not self.leaving

    @property
    def leaving(self) -> bool:
        """Whether requests go elsewhere: it leaves, or hangs."""
        return self.draining or self.drained or self.stalled

    def can_hold(self, file: PlacedFile) -> bool:
        """Whether an empty one could."""
        return self.max_lora_rank >= file.rank and (
            self.outer_modules is None or file.outer_modules <= self.outer_modules
        )

    @property
    def host_pin_bytes(self) -> int:
        """Of host memory, how much may be pinned."""
        return self.host_bytes // 2

    @property
    def host_pin_bytes_free(self) -> int:
        pinned = sum(each.bytes for each in self.held.values() if each.pinned is Tier.HOST)
        return max(0, self.host_pin_bytes - pinned)

    def holds(self, digest: str) -> Held | None:
        """Unless it is on its way out."""
        held = self.held.get(digest)
        return held if held is not None and held.usable else None


@dataclass(frozen=True, slots=True)
class Demand:
    """For one adapter of a base, over the last seconds (short) and the last minute (long)."""

    in_flight: float = 0.0  # mean number of requests, waiting ones too; short
    arriving: float = 0.0  # requests a second; short
    in_flight_long: float = 0.0
    arriving_long: float = 0.0

    @property
    def lately(self) -> bool:
        return self.in_flight > 0 or self.arriving > 0


class Verb(StrEnum):
    PREFETCH = "prefetch"
    PIN = "pin"
    UNPIN = "unpin"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, order=True)
class Command:
    engine_id: str
    verb: Verb
    digest: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a command, as the engine says."""

    engine_id: str
    command_id: str  # as Redis named it when it was sent; other engines' may have the same
    status: str  # done, refused or failed
    reason: str = ""
