"""A request's entry, from before anything is sent for it until its client's part is over."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from chorus_gateway.errors import DeadlineExceeded, Overloaded
from chorus_gateway.ledger.entry import Entry
from chorus_gateway.ledger.values import Admission, Outcome
from chorus_gateway.values import Usage


class Admits(Protocol):
    def admit(self, admission: Admission) -> Entry:
        """Unavailable when what the request will use cannot be taken down."""
        ...


class Answers(Protocol):
    def billed(self) -> Usage:
        """What the client got."""
        ...

    def made(self) -> Usage:
        """What engines are known to have made for it; no less than that."""
        ...


@contextmanager
def recorded(ledger: Admits, admission: Admission, answers: Answers) -> Iterator[Entry]:
    """Admits the request, and closes its entry with how the block ended and what its answers were by then."""
    entry = ledger.admit(admission)
    try:
        yield entry
    except BaseException as error:
        entry.close(_outcome(error), answers.billed(), answers.made())
        raise
    entry.close(Outcome.OK, answers.billed())


def _outcome(error: BaseException) -> Outcome:
    match error:
        case asyncio.CancelledError():
            return Outcome.CANCELLED
        case DeadlineExceeded():
            return Outcome.DEADLINE
        case Overloaded():
            return Outcome.REFUSED
    return Outcome.ERROR
