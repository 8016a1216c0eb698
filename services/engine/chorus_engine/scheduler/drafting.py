"""Rows that decode with drafts: which may have some, and what they take of the step and of the blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chorus_engine.core.draft import Asking, Draft
from chorus_engine.core.request import Request
from chorus_engine.scheduler.batch import Batch
from chorus_engine.scheduler.memory import KvMemory
from chorus_engine.scheduler.sequence import Sequence as Running


class Speculator(Protocol):
    """Guesses, and knows what guessing is worth. One scheduler's."""

    def drafts_beside(self, rows: int) -> bool:
        """Whether any row may have drafts where so many decode. Asked at every step."""

    def expects(self, asking: Sequence[Asking], rows: int) -> bool:
        """Whether drafts would likely pay if the tokens that are being drawn were known: these are not in `produced`.

        rows: that decode, those that ask included.
        """

    def draft(self, asking: Sequence[Asking], rows: int, room: int) -> Sequence[Draft]:
        """For each, at most so many as it asks for; `room` together."""

    def verified(self, request: Request, produced: int, drafted: int, taken: int) -> None:
        """What came of a draft. produced: tokens, with what was taken."""

    def timed(self, rows: int, drafted: int, seconds: float) -> None:
        """A step of rows that decode, from the one before it."""

    def ended(self, request: Request, produced: Sequence[int]) -> None:
        """Nothing more is guessed for the request."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What is remembered of a step until its commit."""

    began: float
    rows: int  # that decode; 0 where others take part, and for a step that says nothing of the time these take
    drafted: int
    drained: bool  # it was waited for that nothing is in flight


class Drafting:
    """How long a row's draft turns out is known when its step is committed. So while one is in flight no other step is
    planned; and if the last step had none but the next may, that one is waited for too, since drafts follow known
    tokens. Steps without drafts overlap as ever."""

    def __init__(self, speculator: Speculator, memory: KvMemory, max_drawn: int) -> None:
        self._speculator = speculator
        self._memory = memory
        self._max_drawn = max_drawn
        self._drained = False  # the next step does not overlap with one before it, which it otherwise would
        self._since: float | None = None  # when the last step was committed, if rows ran on

    def awaits_commit(self, last: Launched, active: Sequence[Running]) -> bool:
        """Whether to plan nothing before a commit. last: the last step in flight."""
        if last.drafted:
            return True
        if not self._speculator.drafts_beside(len(active)):
            return False
        asking = [_asking(sequence) for sequence in active if sequence.pending and sequence.decodes]
        if not asking or not self._speculator.expects(asking, len(active)):
            return False
        self._drained = True
        return True

    def choose(self, active: Sequence[Running], budget: int, entering: int) -> Mapping[int, Draft]:
        """By row. budget: tokens of the step; entering: requests that may yet join it. Blocks are given where there are
        some to spare: no draft takes one that a running row may need next."""
        if not self._speculator.drafts_beside(len(active)):
            return {}
        candidates = [sequence for sequence in active if sequence.decodes and not sequence.pending]
        room = min(budget, self._max_drawn - entering) - len(active)
        if not candidates or room <= 0:
            return {}
        drafts = self._speculator.draft([_asking(sequence) for sequence in candidates], len(active), room)
        chosen: dict[int, Draft] = {}
        for sequence, draft in zip(candidates, drafts, strict=True):
            fits = self._memory.grow_ahead(sequence, len(draft), spare=len(active)) if len(draft) else 0
            if fits:
                chosen[sequence.row] = Draft(draft.tokens[:fits], min(draft.guesses, fits))
        return chosen

    def launched(self, batch: Batch, now: float) -> "Launched":
        drained, self._drained = self._drained, False
        rows = len(batch.rows)
        if batch.prompts or not self._speculator.drafts_beside(rows):
            rows = 0
        return Launched(now, rows, batch.drafted, drained)

    def verified(self, sequence: Running, drafted: int, taken: int) -> None:
        if sequence.finish is not None and not sequence.active:
            return  # it ended while the step was in flight: nobody hears of its tokens, and it is forgotten already
        self._speculator.verified(sequence.request, len(sequence.produced), drafted, taken)

    def ended(self, sequence: Running) -> None:
        self._speculator.ended(sequence.request, sequence.produced)

    def committed(self, launched: "Launched", now: float, *, goes_on: bool) -> None:
        """A step's time is that from the last step's commit, the time between steps included. goes_on: whether rows
        are left."""
        since, self._since = self._since, now if goes_on else None
        if launched.rows and (launched.drafted or not launched.drained):
            seconds = now - (launched.began if since is None else since)
            self._speculator.timed(launched.rows, launched.drafted, seconds)


def _asking(sequence: Running) -> Asking:
    return Asking(sequence.request, sequence.produced, sequence.left - 1)
