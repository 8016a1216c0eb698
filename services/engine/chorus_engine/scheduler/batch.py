"""One step in the making."""

from chorus_engine.core.draft import NO_DRAFT, Draft
from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, SlotLoad, StepPlan
from chorus_engine.scheduler.memory import KvMemory
from chorus_engine.scheduler.sequence import Sequence


class Batch:
    """Rows chosen so far, under a budget of tokens."""

    def __init__(self, budget: int, block_size: int, memory: KvMemory) -> None:
        self.budget = budget  # tokens left
        self.rows: list[RowStep] = []
        self.drafted = 0  # tokens
        self.prompts = False  # whether more than rows that decode take part
        self.members: list[Sequence] = []  # aligned with rows
        self._admit: list[Admission] = []
        self._block_size = block_size
        self._memory = memory

    def add(self, sequence: Sequence, count: int, draft: Draft = NO_DRAFT) -> None:
        """The next `count` positions of the sequence, and a draft behind them."""
        if draft is not NO_DRAFT:
            self.drafted += len(draft)
        step = sequence.advance(count, draft)
        self.budget -= step.count
        self.rows.append(step)
        self.members.append(sequence)
        if sequence.seal_at <= sequence.scheduled and sequence.seal_at <= sequence.known:
            self._memory.seal(sequence)

    def add_prompt(self, sequence: Sequence) -> None:
        """As many of the sequence's remaining positions as the budget allows. A prompt that is cut takes all of it.

        The cut is at a block's end if it can be: a few tokens less, and others that wait for the block may share it.
        """
        self.prompts = True
        count = min(sequence.remaining, sequence.at_once)
        if count <= self.budget:
            self.add(sequence, count)
            return
        end = sequence.scheduled + self.budget
        aligned = end - end % self._block_size
        self.add(sequence, (aligned if aligned > sequence.scheduled else end) - sequence.scheduled)
        self.budget = 0

    def admit(self, sequence: Sequence) -> None:
        self._admit.append(sequence.admission(BASE_SLOT))
        self.add_prompt(sequence)

    def plan(self, step: int, release: tuple[int, ...], load: tuple[SlotLoad, ...]) -> StepPlan:
        moves = self._memory.take_moves()
        return StepPlan(
            step=step,
            rows=tuple(self.rows),
            release=release,
            admit=tuple(self._admit),
            load=load,
            swap_out=moves.swap_out,
            swap_in=moves.swap_in,
            copy=moves.copy,
        )
