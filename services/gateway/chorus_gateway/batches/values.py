"""A batch: many requests of a file, answered at flex priority into another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chorus_gateway.values import Usage

WINDOW = "24h"
WINDOW_SECONDS = 24 * 3600.0


class Status(StrEnum):
    VALIDATING = "validating"
    FAILED = "failed"  # its input is wrong, nothing was asked
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"  # every line has its answer, the files are written
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


OVER = frozenset({Status.FAILED, Status.COMPLETED, Status.EXPIRED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the input, and where."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def answered(self) -> int:
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class NewBatch:
    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str] | None = None
    output_seconds: int | None = None  # how long its output is kept; None is as long as its input would be


@dataclass(frozen=True, slots=True)
class Batch:
    """Times are seconds since 1970."""

    id: str
    tenant: str
    key: str
    wanted: NewBatch
    status: Status
    created_at: float
    expires_at: float
    counts: Counts = field(default_factory=Counts)
    moments: Mapping[str, float] = field(default_factory=dict)  # what came when: in_progress_at, …
    problems: tuple[Problem, ...] = ()
    usage: Usage | None = None  # of the answers in its output; None is not known
    model: str | None = None  # that all of its lines name
    output_file_id: str | None = None
    error_file_id: str | None = None
