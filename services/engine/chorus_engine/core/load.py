"""How busy an engine is and what it holds, as its gateways and the registry are told."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple


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
