"""Drafts do not change how tokens are distributed: 20,000 seeds a setting, against the exact probabilities.

Half of the seeds are numbers as clients choose them, the others random ones, as the engine gives to who names none.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.request import SamplingParams
from chorus_engine.runner.network import Computed
from chorus_engine.runner.rows import signed
from chorus_engine.runner.sampler import Sampler

DRAWS, VOCAB, DRAFT = 20_000, 40, 7
PROMPT, PRODUCED = (3, 4, 4), (5, 7)
BOUND = Constraint(ConstraintKind.REGEX, "even tokens after the draft, others before")
PLAIN = SamplingParams(max_tokens=9, temperature=1.0)
SETTINGS = {
    "filters and bias": replace(
        PLAIN, temperature=0.8, top_k=16, top_p=0.9, min_p=0.02, logit_bias=((2, 1.5), (7, 1.0), (9, -2.0))
    ),
    "penalties": replace(PLAIN, presence_penalty=0.6, frequency_penalty=0.8, repetition_penalty=1.3),
    "constraint": replace(PLAIN, temperature=0.7, constraint=BOUND),
}
SIGNIFICANCE = 4.9  # standard deviations of a chi-square, in its normal approximation


class Parity:
    """Odd tokens first, then even ones."""

    ended, error = False, None

    def take(self, token: int) -> None:
        """The test asks for no third token."""


class Source:
    def matcher(self, constraint: Constraint, produced: Sequence[int]) -> Parity:
        return Parity()

    def fill(self, matchers: Sequence[tuple[Any, int, Sequence[int]]], masks: NDArray[np.int32]) -> None:
        odd = np.array([0xAAAAAAAA], dtype=np.uint32).view(np.int32)[0]
        for _, row, drafts in matchers:
            masks[row] = odd
            for place, _draft in enumerate(drafts, 1):
                masks[row + place] = ~odd


def probabilities(logits: Tensor, params: SamplingParams, output: Sequence[int], parity: int) -> Tensor:
    """[vocab] float64, by the definitions."""
    scores = logits.double().clone()
    if params.constraint is not None:
        scores[1 - parity :: 2] = -torch.inf
    for token in {*PROMPT, *output}:
        value = scores[token]
        scores[token] = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
    for token in output:
        scores[token] -= params.frequency_penalty
    for token in set(output):
        scores[token] -= params.presence_penalty
    for token, bias in params.logit_bias:
        scores[token] += bias
    scores /= params.temperature
    order = scores.argsort(descending=True)
    kept = order[: params.top_k or VOCAB]
    shares = scores[kept].softmax(0)
    kept = kept[(shares.cumsum(0) - shares) < params.top_p]
    kept = kept[scores[kept].exp() >= params.min_p * scores.max().exp()]
    result = torch.zeros(VOCAB, dtype=torch.float64)
    result[kept] = scores[kept].softmax(0)
    return result


def deviation(tokens: Tensor, expected: Tensor) -> float:
    """How many standard deviations the tokens' chi-square is off."""
    counts = torch.bincount(tokens, minlength=VOCAB).double()
    assert not counts[expected == 0].any(), "a token that cannot be"
    likely = expected * len(tokens) > 5
    seen = torch.cat((counts[likely], counts[~likely].sum()[None]))
    wanted = torch.cat((expected[likely], expected[~likely].sum()[None])) * len(tokens)
    seen, wanted = seen[wanted > 5], wanted[wanted > 5]
    freedom = len(seen) - 1
    return float((((seen - wanted) ** 2 / wanted).sum() - freedom) / (2 * freedom) ** 0.5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_tokens_are_distributed_as_without_drafts(setting: str) -> None:
    params = SETTINGS[setting]
    torch.manual_seed(5)
    logits = 1.5 * torch.randn(2, VOCAB)
    logits[0, DRAFT] = 4.5  # so that the draft is often right
    sampler = Sampler(DRAWS, VOCAB, torch.device("cpu"), Source())
    known = (*PROMPT, *PRODUCED)
    draw = Random(7)
    seeds = [row if row % 2 else draw.getrandbits(64) for row in range(DRAWS)]
    for row in range(DRAWS):
        sampler.admit(Admission(row, "", known, len(PROMPT), BASE_SLOT, replace(params, seed=seeds[row])))
    position = len(known)
    steps = [RowStep(row, position - 1 + place, 1, (), True) for row in range(DRAWS) for place in (0, 1)]
    rows = torch.arange(DRAWS).repeat_interleave(2)
    computed = Computed(
        normed=logits,
        sampling=tuple(range(2 * DRAWS)),
        rows=rows,
        positions=torch.tensor([position, position + 1]).repeat(DRAWS),
        temperature=torch.full((2 * DRAWS,), params.temperature),
        seeds=torch.tensor([signed(seed) for seed in seeds]).repeat_interleave(2),
    )

    drawn = sampler.draw(logits.repeat(DRAWS, 1), computed, steps, torch.tensor([PRODUCED[-1], DRAFT]).repeat(DRAWS))

    values = [value for value in drawn.read() if isinstance(value, tuple)]
    firsts = torch.tensor([value[0].token_id for value in values])
    seconds = torch.tensor([value[1].token_id for value in values if len(value) == 2])
    expected = probabilities(logits[0], params, PRODUCED, parity=1)
    assert len(firsts) == DRAWS
    assert len(seconds) == int((firsts == DRAFT).sum()) > 500
    assert abs(deviation(firsts, expected)) < SIGNIFICANCE
    assert abs(deviation(seconds, probabilities(logits[1], params, (*PRODUCED, DRAFT), parity=0))) < SIGNIFICANCE
