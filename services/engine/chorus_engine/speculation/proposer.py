from collections.abc import Sequence
from typing import Protocol

from chorus_engine.core.request import Request


class Proposer(Protocol):
    """Guesses the next tokens of requests. Called between two steps, so it must be quick; a guess costs time, never a
    token. Another way of guessing on the host needs this and nothing else."""

    def propose(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, ...]:
        """Up to `count` tokens that may follow the prompt and what is produced; none where nothing is likely.

        `produced` only grows from call to call, a preemption notwithstanding.
        """

    def forget(self, request: Request, produced: Sequence[int]) -> None:
        """The request has ended with this output. It may be that nothing was ever proposed for it."""
