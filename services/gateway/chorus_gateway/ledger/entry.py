"""One request in the ledger, from its admission to its row."""

from typing import Protocol

from chorus_gateway.engine_client.usage import Acknowledge, SubmissionId
from chorus_gateway.ledger import records
from chorus_gateway.ledger.tally import Sent, Tally
from chorus_gateway.ledger.values import Closing, Outcome
from chorus_gateway.prices.cost import cost
from chorus_gateway.values import Usage


class Keeper(Protocol):
    """Whoever holds the entries."""

    def write(self, line: bytes) -> bool:
        """False when the journal cannot be written to."""
        ...

    def acknowledge(self, owed: "list[Owed]") -> None:
        """These have been taken down, so engines may forget them."""

    def ask_for(self, entry: "Entry", submission: SubmissionId, engine_id: str) -> None: ...

    def settled(self, entry: "Entry") -> None:
        """Its figures will not change any more."""


# An acknowledgement that an engine waits for: how to give it, of what, and the engine.
Owed = tuple[Acknowledge, SubmissionId, str]


class Entry:
    """The account of the request's submissions. What it is told is in the journal when the call returns, or, where the
    next line will have it, is not acknowledged before that."""

    __slots__ = ("_keeper", "_owed", "file", "tally")

    def __init__(self, keeper: Keeper, tally: Tally, file: int) -> None:
        self.tally = tally
        self.file = file  # of the journal, that its admission is in
        self._keeper = keeper
        self._owed: list[Owed] = []

    @property
    def request_id(self) -> str:
        return self.tally.admission.request_id

    def sent(self, submission: SubmissionId, engine_id: str) -> None:
        self.tally.sent[submission] = Sent(engine_id)
        # Without this line an heir would not know whom to ask: it asks all engines that it reaches.
        self._keeper.write(records.sent(self.request_id, submission, engine_id))

    def ended(self, submission: SubmissionId, usage: Usage | None, acknowledge: Acknowledge) -> None:
        self.tally.end(submission, usage)
        self._owed.append((acknowledge, submission, self.tally.sent[submission].engine_id))
        if self.tally.closing is None:
            return  # the line of its close will have it
        self._wrote(self._keeper.write(records.ended(self.request_id, submission, usage)))

    def broken(self, submission: SubmissionId) -> None:
        self._keeper.ask_for(self, submission, self.tally.sent[submission].engine_id)

    def close(self, outcome: Outcome, delivered: Usage, made: Usage | None = None) -> None:
        """The client's part is over. Only the first call has an effect. `made`: what came for the client, where it got
        less."""
        if self.tally.closing is not None:
            return
        lost = None if made == delivered else made
        closing = Closing(outcome, delivered, cost(self.tally.admission.price, delivered), lost)
        self.tally.closing = closing
        ends = [(name, sent.usage) for name, sent in self.tally.sent.items() if sent.ended]
        self._wrote(self._keeper.write(records.closed(self.request_id, closing, ends)))

    def has(self, submission: SubmissionId) -> bool:
        """Whether the journal has its end, so that its engine may forget it."""
        sent = self.tally.sent.get(submission)
        owed = any(name == submission for _, name, _ in self._owed)
        return sent is not None and sent.ended and self.tally.closing is not None and not owed

    def stored(self) -> None:
        """Its row is in SQL: what the journal did not take may be acknowledged now."""
        self._pay()

    def _wrote(self, journaled: bool) -> None:
        if journaled:
            self._pay()
        if self.tally.settled:
            self._keeper.settled(self)

    def _pay(self) -> None:
        if self._owed:
            owed, self._owed = self._owed, []
            self._keeper.acknowledge(owed)
