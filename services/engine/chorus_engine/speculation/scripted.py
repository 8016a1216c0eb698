"""Guesses of known quality, for measurements and tests: whoever uses it knows the answer already."""

from collections.abc import Callable, Sequence
from random import Random

from chorus_engine.core.request import Request

Answers = Callable[[Request], Sequence[int]]


class ScriptedProposer:
    """Each draft is right with the probability `acceptance`, independently."""

    def __init__(self, answers: Answers, acceptance: float, *, vocab: int, seed: int = 0) -> None:
        """answers: the output of a request, whole."""
        self._answers = answers
        self._acceptance = acceptance
        self._vocab = vocab
        self._random = Random(seed)  # noqa: S311 - no secret

    def propose(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, ...]:
        right = self._answers(request)[len(produced) : len(produced) + count]
        return tuple(self._draft(token) for token in right)

    def forget(self, request: Request, produced: Sequence[int]) -> None:
        """Nothing is kept."""

    def _draft(self, right: int) -> int:
        return right if self._random.random() < self._acceptance else (right + 1) % self._vocab
