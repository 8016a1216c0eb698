"""The requests that this worker has admitted and that are not in SQL yet."""

import logging
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from chorus_gateway.engine_client.usage import SubmissionId
from chorus_gateway.errors import Unavailable
from chorus_gateway.ledger import records
from chorus_gateway.ledger.entry import Entry, Owed
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.tally import Tally
from chorus_gateway.ledger.values import Admission

MAX_FILES = 4  # of the journal, before what holds back the oldest is written again
CARRIED_AT_ONCE = 500  # requests
MAX_UNWRITTEN = 50_000  # requests that wait to be written to SQL, about 1 KB each

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A submission whose stream broke before its final usage came."""

    entry: Entry
    engine_id: str


class Ledger:
    """On the event loop. `admit` and what entries are told go into the journal before they return."""

    def __init__(self, journal: Journal, *, max_unwritten: int = MAX_UNWRITTEN) -> None:
        self.questions: dict[SubmissionId, Question] = {}
        self.stale: set[str] = set()  # engines that keep what they need not, since a stream broke
        self._journal = journal
        self._max_unwritten = max_unwritten
        self._entries: dict[str, Entry] = {}
        self._settled: deque[Entry] = deque()
        self._owed: list[Owed] = []
        self._writable = True

    @property
    def unwritten(self) -> int:
        """Requests that are over and not in SQL."""
        return len(self._settled)

    @property
    def entries(self) -> Collection[Entry]:
        return self._entries.values()

    def admit(self, admission: Admission) -> Entry:
        """Unavailable when what the request will use cannot be taken down."""
        if len(self._settled) >= self._max_unwritten:
            raise Unavailable("Usage cannot be written to the database, so no new request is taken: try again later.")
        if not self.write(records.admitted(admission)):
            raise Unavailable(
                "The disk that usage is recorded on is full, so no new request is taken: try again later."
            )
        entry = Entry(self, Tally(admission), self._journal.hold())
        self._entries[admission.request_id] = entry
        return entry

    def needs(self, submission: SubmissionId) -> bool:
        """Whether what its engine keeps of it has not been taken down yet."""
        entry = self._entries.get(submission.request_id.rpartition("-")[0])
        return entry is not None and not entry.has(submission)

    def take(self, count: int) -> list[Entry]:
        """The next to be written: to be given back by `stored` or `put_back`."""
        return [self._settled.popleft() for _ in range(min(count, len(self._settled)))]

    def stored(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            entry.stored()
            del self._entries[entry.request_id]
            self._journal.release(entry.file)

    def put_back(self, entries: list[Entry]) -> None:
        self._settled.extendleft(reversed(entries))

    def pay(self) -> None:
        """Lets engines forget what has been taken down since the last call."""
        owed, self._owed = self._owed, []
        for acknowledge, submission, engine_id in owed:
            if not acknowledge(submission):
                self.stale.add(engine_id)

    def carry(self) -> None:
        """A few requests that run for long must not hold back all files since their admission: what is known of them
        is written once more, and the oldest file goes."""
        if self._journal.files <= MAX_FILES:
            return
        oldest = self._journal.oldest
        holders = [entry for entry in self._entries.values() if entry.file == oldest]
        if any(map(_is_over, holders)):  # they are on their way to SQL
            return
        for entry in holders[:CARRIED_AT_ONCE]:
            if not self.write(records.story(entry.tally)):
                return
            entry.file = self._journal.hold()
            self._journal.release(oldest)

    def write(self, line: bytes) -> bool:
        try:
            self._journal.append(line)
        except OSError as error:
            if self._writable:
                log.error("the journal of usage cannot be written", extra={"reason": str(error)})
            self._writable = False
            return False
        if not self._writable:
            log.warning("the journal of usage can be written again")
        self._writable = True
        return True

    def acknowledge(self, owed: list[Owed]) -> None:
        self._owed += owed

    def ask_for(self, entry: Entry, submission: SubmissionId, engine_id: str) -> None:
        self.questions[submission] = Question(entry, engine_id)

    def settled(self, entry: Entry) -> None:
        self._settled.append(entry)


def _is_over(entry: Entry) -> bool:
    return entry.tally.closing is not None and entry.tally.settled
