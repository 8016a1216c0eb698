"""Beam searches of the scheduler and the runner together, beside other requests and with few blocks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chorus_engine.core.request import BeamParams, EarlyStopping, FinishReason, Request, SamplingParams
from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.serve import make_requests, serve
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


@pytest.mark.parametrize("world", ["llama"], indirect=True)
def test_beams_are_those_of_transformers(world: World) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=24, max_adapters=4)
    runner = world.runner(settings)
    scheduler = Scheduler(runner.capacity, slot_patience=0.2)
    beside = make_requests(world, [70, 33, 90, 16, 30, 45], tokens=40, name="beside-")
    searches = [
        replace(plain, id=name, sampling=sampling, adapter=adapter, beams=beams, namespace=str(adapter).encode())
        for plain, (name, (beams, sampling, adapter)) in zip(
            make_requests(world, [40, 61, 100, 3, 16, 31, 64], tokens=1), SEARCHES.items(), strict=True
        )
    ]

    served = serve(world, scheduler, runner, [*searches, *beside], depth=2)

    assert scheduler.load().preemptions > 0
    for search in searches:
        _check(world, search, served.beams[search.id])
        assert served.usage[search.id].prompt_tokens == len(search.prompt)


def _check(world: World, search: Request, beams: Any) -> None:
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
    assert [beam.score for beam in beams] == pytest.approx([score for _, score in truth], abs=1e-4)
    for beam in beams:
        stopped = beam.tokens[-1].token_id in sampling.stop_token_ids
        assert beam.finish is (FinishReason.STOP if stopped else FinishReason.LENGTH)
        told = [token.logprob for token in beam.tokens if token.logprob is not None]
        assert len(told) == (len(beam.tokens) if sampling.logprobs is not None else 0)
        assert all(len(token.top) == (sampling.logprobs or 0) for token in beam.tokens)
