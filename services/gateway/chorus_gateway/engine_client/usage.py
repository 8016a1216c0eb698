"""What submissions came to: who takes it down, and what an engine keeps until somebody has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chorus_gateway.values import Usage

NOTHING_USED = Usage(0, 0)


class SubmissionId(NamedTuple):
    request_id: str  # the job's
    attempt: int


# Tells the engine that it need not keep this any more. False when the stream is gone that it could be told by.
Acknowledge = Callable[[SubmissionId], bool]


class Account(Protocol):
    """Hears of each submission that it was sent, and then once what became of it, whoever ended it. Never waits."""

    def sent(self, submission: SubmissionId, engine_id: str) -> None:
        """It is about to be."""

    def ended(self, submission: SubmissionId, usage: Usage | None, acknowledge: Acknowledge) -> None:
        """With the engine's final word, if it had one."""

    def broken(self, submission: SubmissionId) -> None:
        """The stream broke before; the engine keeps the final usage."""


class Unkept:
    """An account that takes nothing down."""

    def sent(self, submission: SubmissionId, engine_id: str) -> None:
        pass

    def ended(self, submission: SubmissionId, usage: Usage | None, acknowledge: Acknowledge) -> None:
        pass

    def broken(self, submission: SubmissionId) -> None:
        pass


UNKEPT = Unkept()


@dataclass(frozen=True, slots=True)
class Orphaned:
    """What an engine says of a worker's submissions that it has not acknowledged."""

    ended: dict[SubmissionId, Usage]
    live: frozenset[SubmissionId]
