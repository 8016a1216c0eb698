"""How busy an engine is and what it holds, as its gateways and the registry are told."""

from dataclasses import dataclass
from enum import StrEnum


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
