"""Beam searches, and what transformers finds."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chorus_engine.core.request import BeamParams, EarlyStopping, FinishReason, Request, SamplingParams
from tests.engine.oracle.support.serve import make_requests
from tests.engine.oracle.support.world import World

STOPS = tuple(range(0, 211, 9))
EARLY: Mapping[EarlyStopping, bool | str] = {
    EarlyStopping.GUESS: False,
    EarlyStopping.AT_ONCE: True,
    EarlyStopping.NEVER: "never",
}
SEARCHES: Mapping[str, tuple[BeamParams, SamplingParams, str | None]] = {
    "base": (BeamParams(4), SamplingParams(20, stop_token_ids=STOPS), None),
    "adapter": (BeamParams(3, 0.5), SamplingParams(20, stop_token_ids=STOPS, logprobs=1), "r8"),
    "at once": (BeamParams(5, 1.0, EarlyStopping.AT_ONCE), SamplingParams(16, stop_token_ids=STOPS[:5]), "r16rs"),
    "never": (BeamParams(2, 1.5, EarlyStopping.NEVER), SamplingParams(18, stop_token_ids=STOPS), "r4"),
    "short": (BeamParams(4, -1.0), SamplingParams(12, 6, stop_token_ids=STOPS), "r8"),
    "no stop": (BeamParams(8), SamplingParams(6), None),
    "one token": (BeamParams(6), SamplingParams(1, stop_token_ids=STOPS), "r4"),
}


def make_searches(world: World) -> list[Request]:
    """One of each kind, in the namespace of its adapter."""
    asked = make_requests(world, [40, 61, 100, 3, 16, 31, 64], tokens=1)
    return [
        replace(plain, id=name, sampling=sampling, adapter=adapter, beams=beams, namespace=str(adapter).encode())
        for plain, (name, (beams, sampling, adapter)) in zip(asked, SEARCHES.items(), strict=True)
    ]


def check_beams(world: World, search: Request, beams: Any) -> None:
    assert search.beams is not None
    sampling = search.sampling
    truth = world.oracle.beams(
        search.adapter,
        search.prompt,
        sampling.stop_token_ids,
        num_beams=search.beams.width,
        max_new_tokens=sampling.max_tokens,
        min_new_tokens=sampling.min_tokens,
        length_penalty=search.beams.length_penalty,
        early_stopping=EARLY[search.beams.early_stopping],
    )
    assert [tuple(token.token_id for token in beam.tokens) for beam in beams] == [tokens for tokens, _ in truth]
    assert [beam.score for beam in beams] == pytest.approx([score for _, score in truth], rel=1e-5, abs=1e-4)
    for beam in beams:
        stopped = beam.tokens[-1].token_id in sampling.stop_token_ids
        assert beam.finish is (FinishReason.STOP if stopped else FinishReason.LENGTH)
        told = [token.logprob for token in beam.tokens if token.logprob is not None]
        assert len(told) == (len(beam.tokens) if sampling.logprobs is not None else 0)
        assert all(len(token.top) == (sampling.logprobs or 0) for token in beam.tokens)
