"""How busy an engine is and what it holds, as its gateways and the registry are told."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple


class Tier(StrEnum):
    """Where an engine holds an adapter."""

    HOST = "host"
    GPU = "gpu"  # in a slot, whatever the device


class SlotState(StrEnum):
    """The life of an adapter slot. A slot that is gone is free and has no residency."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Residency:
    """One adapter in the engine's adapter pool."""

    digest: str
    state: SlotState
    pages: int  # over all (layer, module) pools
    leases: int  # rows that use it
    last_use: float  # seconds on the monotonic clock
    bytes: int = 0  # of its weights
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """A snapshot between two steps, and totals since the start."""

    running: int  # requests that hold a row
    waiting: int
    waits_for_blocks: bool  # the last step could not admit or go on with a request for want of KV blocks
    free_blocks: int
    total_blocks: int
    preemptions: int  # total
    adapter_loads: int  # total
    adapter_evictions: int  # total, slots drained for a waiting adapter included
    swaps: int = 0  # total, preemptions whose keys and values went to host memory
    free_slots: int = 0  # adapter slots that hold nothing
    idle_slots: int = 0  # those with an adapter that nobody uses, waits for or pinned
    gpu_hits: int = 0  # total, requests whose adapter was in a slot, ready, when they came
    host_hits: int = 0  # total, those whose adapter was in host memory alone
    misses: int = 0  # total, those whose adapter had to be fetched
    oldest_lease: float | None = None  # when the longest running request of an adapter got its row, monotonic seconds


class Hosted(NamedTuple):
    """One adapter in the engine's host memory, or on its way there."""

    digest: str
    state: Literal["fetching", "ready"]
    bytes: int  # 0 until its size is known
    pinned: bool  # or to be pinned as soon as it is there
    last_use: float  # seconds on the monotonic clock; of one on its way, when it was first asked for


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Host memory for adapters, in bytes, and totals since the start."""

    total: int
    used: int
    available: int  # free, or held by adapters that may give way
    pinned: int
    pinnable: int  # the most that may be pinned
    hits: int = 0  # adapters that a slot needed and host memory had
    misses: int = 0  # adapters that had to be fetched for a request
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """An adapter in whichever tier is nearest to the steps: in a slot, else in host memory or on its way there."""

    digest: str
    tier: Tier
    state: SlotState  # in host memory, loading is being fetched
    bytes: int  # 0 until its size is known
    pages: int = 0
    leases: int = 0
    last_use: float = 0.0  # seconds on the monotonic clock
    pinned: Tier | None = None
    hosted: bool = False  # host memory has it, in a slot or not
