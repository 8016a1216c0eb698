"""A tenant's file."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    BATCH = "batch"  # a batch's input
    BATCH_OUTPUT = "batch_output"


class State(StrEnum):
    WRITING = "writing"  # nobody sees it yet
    READY = "ready"
    PART = "part"  # nobody sees it: an answer to a batch's line, until the batch's own files have it
    DELETED = "deleted"  # nobody sees it any more; the sweeper takes its bytes


@dataclass(frozen=True, slots=True)
class File:
    """Times are seconds since 1970."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file that a tenant sends, and of all of a tenant's files together; and how many these may be."""

    file: int = 200 << 20
    tenant: int = 2 << 30
    count: int = 10_000
