"""One request's output, followed token by token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chorus_engine.core.errors import ConstraintRefused, EngineError

if TYPE_CHECKING:
    import llguidance


class GrammarMatcher:
    def __init__(self, state: "llguidance.LLMatcher", produced: Sequence[int] = (), lane: int = 0) -> None:
        """state: this matcher's own, at the beginning. lane: a number; masks of one lane cannot be filled at once."""
        self.state = state
        self.lane = lane
        self.ended = False
        self.error: EngineError | None = None
        for token in produced:
            self.take(token)

    def take(self, token: int) -> None:
        self.state.consume_token(token)
        self.check()
        self.ended = self.error is None and self.state.is_stopped()

    def check(self) -> None:
        if self.error is None and self.state.is_error():
            reason = " ".join(self.state.get_error().split())[:300].rstrip(".")
            self.error = ConstraintRefused(f"the output could not be constrained any further: {reason}.")


class BrokenMatcher:
    """Of a constraint that could not be compiled."""

    ended = False

    def __init__(self, error: EngineError) -> None:
        self.error = error

    def take(self, token: int) -> None:
        """There is nothing to follow."""
