"""What the ledger keeps of a request."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from chorus_gateway.values import Band, Price, Usage

FREE = Price()
DAY_SECONDS = 86_400


class Outcome(StrEnum):
    OK = "ok"
    CANCELLED = "cancelled"  # the client left
    DEADLINE = "deadline"
    ERROR = "error"
    REFUSED = "refused"  # the queue was full: nothing was done, and no row is kept
    ORPHANED = "orphaned"  # its gateway was killed: the engine's figures are all there is


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may be dispatched from now on, and what will be asked for it."""

    request_id: str
    at: float  # seconds since 1970
    tenant: str
    key: str  # id
    base: str  # name
    adapter: str = ""  # "owner/name", or "" for the base model itself
    generation: int = 0
    band: Band = Band.DEFAULT
    price: Price = FREE
    n: int = 1  # answers to each prompt


@dataclass(frozen=True, slots=True)
class Closing:
    """How a request ended, and what its client got."""

    outcome: Outcome
    delivered: Usage  # `computed_tokens` is not read
    cost: int  # billionths
    lost: Usage | None = None  # what had come for the client when it got an error instead; `computed_tokens` as above


@dataclass(frozen=True, slots=True)
class UsageRow:
    admission: Admission
    closing: Closing
    computed: int  # tokens, of all submissions: recomputation, and what no client got, included

    @property
    def day(self) -> str:
        return day_of(self.admission.at)


def day_of(at: float) -> str:
    """UTC's, as 2026-01-31."""
    return _day(int(at // DAY_SECONDS))


@lru_cache(maxsize=64)  # requests come in the order of their days
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_SECONDS, UTC).strftime("%Y-%m-%d")
