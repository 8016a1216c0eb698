"""How many prompt tokens a step computes beside rows that decode."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChunkPolicy:
    """Rows that decode wait for the prompts of their step, so these come in chunks.

    A fixed chunk is too small when many prompts wait (each step has its fixed cost, and first tokens come late) and too
    large when few do (everybody's next token waits). So a chunk is a share of what waits: a single prompt of usual
    length goes in two or three steps, each not much longer than one without it, and a flood takes the whole budget.
    """

    share: int = 4  # at most one part in this many of all prompt tokens not yet computed ...
    least: int = 512  # ... but no less than this: smaller chunks do not fill the device

    def limit(self, backlog: int, budget: int) -> int:
        """Prompt tokens of a step that has rows that decode; all are tokens."""
        return min(budget, max(self.least, backlog // self.share))
