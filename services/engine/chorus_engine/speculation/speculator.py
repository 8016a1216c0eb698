"""Who is guessed for, how much, and by whom: what the scheduler asks at planning."""

from collections.abc import Sequence
from typing import Protocol

from chorus_engine.core.draft import NO_DRAFT, Asking, Draft
from chorus_engine.core.request import Request
from chorus_engine.speculation.control import Control
from chorus_engine.speculation.proposer import Proposer


class Tally(Protocol):
    """Counts what came of drafts. Called on the loop's thread: must be quick and must not raise."""

    def verified(self, adapter: str | None, drafted: int, taken: int) -> None: ...


class Speculator:
    """As scheduler.drafting.Speculator has it."""

    def __init__(self, proposer: Proposer | None, control: Control, tally: Tally | None = None) -> None:
        """proposer: None where the runner has a draft model, which guesses itself."""
        self._proposer = proposer
        self._control = control
        self._tally = tally

    def drafts_beside(self, rows: int) -> bool:
        return rows <= self._control.most_rows

    def expects(self, asking: Sequence[Asking], rows: int) -> bool:
        return any(map(len, self._draft(asking, rows)))

    def draft(self, asking: Sequence[Asking], rows: int, room: int) -> Sequence[Draft]:
        drafts: list[Draft] = []
        for draft in self._draft(asking, rows):
            drafts.append(Draft(draft.tokens[:room], min(draft.guesses, room)))
            room -= len(drafts[-1])
        return drafts

    def verified(self, request: Request, produced: int, drafted: int, taken: int) -> None:
        self._control.verified(request.id, request.adapter, drafted, taken, produced)
        if self._tally is not None:
            self._tally.verified(request.adapter, drafted, taken)

    def timed(self, rows: int, drafted: int, seconds: float) -> None:
        self._control.timed(rows, drafted, seconds)

    def ended(self, request: Request, produced: Sequence[int]) -> None:
        self._control.forget(request.id)
        if self._proposer is not None:
            self._proposer.forget(request, produced)

    def _draft(self, asking: Sequence[Asking], rows: int) -> list[Draft]:
        """Who asks for a number gets it; what the others get must pay, taken together."""
        drafts = [self._propose(each, rows) for each in asking]
        expected, free = float(rows), 0
        for each, draft in zip(asking, drafts, strict=True):
            if each.request.sampling.speculation is None and len(draft):
                expected += self._control.expected(each.request.id, each.request.adapter, len(draft)) - 1
                free += len(draft)
        if not free or self._control.pays(expected, rows, sum(map(len, drafts))):
            return drafts
        fixed = [each.request.sampling.speculation is not None for each in asking]
        return [draft if kept else NO_DRAFT for draft, kept in zip(drafts, fixed, strict=True)]

    def _propose(self, asking: Asking, rows: int) -> Draft:
        request, produced = asking.request, asking.produced
        count = request.sampling.speculation
        if count is None:
            count = self._control.drafts(request.id, request.adapter, len(produced), rows)
        count = min(count, asking.most, self._control.most)
        if count <= 0:
            return NO_DRAFT
        if self._proposer is None:
            return Draft(guesses=count)
        return Draft(self._proposer.propose(request, produced, count))
