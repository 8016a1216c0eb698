"""Guesses of what a request says next, and who is asked for them."""

from collections.abc import Sequence
from dataclasses import dataclass

from chorus_engine.core.request import Request


@dataclass(frozen=True, slots=True)
class Asking:
    """A row that may have drafts in the next step."""

    request: Request
    produced: Sequence[int]  # tokens, all that are known; it grows as the request does
    most: int  # drafts


@dataclass(frozen=True, slots=True)
class Draft:
    """Either tokens, or how many the runner's draft model guesses."""

    tokens: tuple[int, ...] = ()
    guesses: int = 0

    def __len__(self) -> int:
        return len(self.tokens) + self.guesses


NO_DRAFT = Draft()
