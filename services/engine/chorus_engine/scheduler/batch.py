"""One step in the making."""

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, SlotLoad, StepPlan
from chorus_engine.scheduler.sequence import Sequence


class Batch:
    """Rows chosen so far, under a budget of tokens."""

    def __init__(self, budget: int) -> None:
        self.budget = budget  # tokens left
        self.rows: list[RowStep] = []
        self.members: list[Sequence] = []  # aligned with rows
        self._admit: list[Admission] = []

    def add(self, sequence: Sequence) -> None:
        """As many of the sequence's remaining positions as the budget allows."""
        count = min(sequence.remaining, self.budget)
        self.budget -= count
        self.rows.append(sequence.advance(count))
        self.members.append(sequence)

    def admit(self, sequence: Sequence) -> None:
        self._admit.append(sequence.admission(BASE_SLOT))
        self.add(sequence)

    def plan(self, step: int, release: tuple[int, ...], load: tuple[SlotLoad, ...]) -> StepPlan:
        return StepPlan(step, tuple(self.rows), release, tuple(self._admit), load)
