"""What the adapter store's placer asks of an engine, and what comes of it."""

from dataclasses import dataclass
from enum import StrEnum

from chorus_engine.core.load import Tier


class Verb(StrEnum):
    PREFETCH = "prefetch"
    PIN = "pin"  # prefetch, and never evicted until UNPIN
    UNPIN = "unpin"  # in every tier
    DRAIN = "drain"  # of HOST: out of the slot too


class Status(StrEnum):
    DONE = "done"
    REFUSED = "refused"  # it cannot be, for now
    FAILED = "failed"  # it was begun and came to nothing


@dataclass(frozen=True, slots=True)
class Command:
    verb: Verb
    digest: str
    tier: Tier
    until: float | None = None  # seconds on the monotonic clock, after which nobody wants it any more


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    reason: str = ""  # of what is not done, in one sentence
