"""Drafts of a given quality on a model with random weights, whose next token nobody can guess: the script says which
drafts are taken, and everything else is as it is in the engine. What is answered is then not what the model says."""

from collections.abc import Sequence
from random import Random

from chorus_engine.core.request import Request

WRONG, RIGHT = 0, 1  # the tokens that stand for such drafts


class Script:
    """Proposer and judge in one. `acceptance`: of a draft whose predecessors were taken."""

    def __init__(self) -> None:
        self.acceptance = 0.0
        self.steps = 0  # of rows with drafts
        self.taken = 0
        self._random = Random(0)

    def begin(self, acceptance: float) -> None:
        self.acceptance, self.steps, self.taken = acceptance, 0, 0

    def propose(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, ...]:
        return tuple(RIGHT if self._random.random() < self.acceptance else WRONG for _ in range(count))

    def forget(self, request: Request, produced: Sequence[int]) -> None:
        """Nothing is kept."""

    def verify(self, drafts: Sequence[int], drawn: Sequence[int]) -> int:
        taken = next((place for place, draft in enumerate(drafts) if draft != RIGHT), len(drafts))
        self.steps += 1
        self.taken += taken
        return taken

    def to_json(self) -> dict[str, float]:
        return {"steps": self.steps, "tokens": self.steps + self.taken}
