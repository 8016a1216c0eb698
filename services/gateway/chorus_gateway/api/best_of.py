"""The best of several answers to a prompt: those with the highest log probability per token, as OpenAI chooses."""

import math
from collections.abc import Sequence
from dataclasses import replace

from chorus_gateway.api.collected import CollectedChoice
from chorus_gateway.api.shapes import finite


def best(choices: Sequence[CollectedChoice], made: int, n: int) -> list[CollectedChoice]:
    """Of the `made` answers to each prompt the `n` best, the best first. Each token must have its log probability."""
    if made == n:
        return list(choices)
    ranked: list[CollectedChoice] = []
    for at in range(0, len(choices), made):
        ranked += sorted(choices[at : at + made], key=_likelihood, reverse=True)
    return leading(ranked, made, n)


def leading(choices: Sequence[CollectedChoice], made: int, n: int) -> list[CollectedChoice]:
    """Of the `made` answers to each prompt, which are in order, the first `n`."""
    chosen = [choice for at in range(0, len(choices), made) for choice in choices[at : at + n]]
    return [replace(choice, index=index) for index, choice in enumerate(chosen)]


def _likelihood(choice: CollectedChoice) -> float:
    logprobs = [finite(entry.token.logprob) for entry in choice.tokens]
    return math.fsum(logprobs) / len(logprobs) if logprobs else -math.inf
