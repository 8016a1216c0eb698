"""How many prompt tokens a step computes beside rows that decode."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChunkPolicy:
    """Rows that decode wait for the prompts of their step, so these come in chunks.

    A chunk is as small as keeps the device busy, so that everybody's next token comes almost as soon as without it. But
    each step costs something whatever its size, and rows that enter late decode alone at the end: when many prompts
    wait, a step takes as many chunks more. Prompts are counted, not their tokens, so that a single long prompt never
    makes a long step.
    """

    tokens: int = 384  # of one chunk; fewer do not fill a large device
    few: int = 4  # prompts that may wait without making the step longer

    def limit(self, prompts: int, budget: int) -> int:
        """Prompt tokens of a step; `prompts` are those not yet computed to their end, running and waiting."""
        return min(budget, self.tokens * max(1, prompts - self.few))
