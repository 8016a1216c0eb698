"""Whoever guesses, few blocks and slots, chunks, swapping, prefixes found: no token changes."""

from dataclasses import replace

import pytest

from chorus_engine.core.request import Request
from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from chorus_engine.speculation import Control, NgramProposer, Proposer, ScriptedProposer, Speculator, SuffixProposer
from tests.engine.oracle.support.serve import Served, make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World

LENGTHS = [30, 100, 33, 64, 16, 48]
SETTINGS = RunnerSettings(
    max_num_seqs=6, max_num_batched_tokens=64, num_kv_blocks=14, max_adapters=3, swap_bytes=1 << 24, max_verified=40
)


@pytest.mark.parametrize("world", ["mistral"], indirect=True)
def test_drafted_answers_are_the_oracles(world: World) -> None:
    """With a window, which both have. The model is its own draft model, which knows of no adapter."""
    runner = world.runner(SETTINGS, draft=world.model)
    capacity = replace(runner.capacity, swap_seconds=1e-6, recompute_seconds=1e-4)
    scheduler = Scheduler(capacity, slot_patience=0.2, speculator=Speculator(None, Control(6)))
    asked = [
        replace(request, sampling=replace(request.sampling, speculation=(3, 5, 0, 1)[place % 4]))
        for again in range(2)
        for place, request in enumerate(
            make_requests(world, LENGTHS[: 6 - 3 * again], 32, namespace=b"a", name=f"{again}-")
        )
    ]

    served = serve(world, scheduler, runner, asked, depth=2)

    assert scheduler.load().preemptions > 0
    assert served.swapped > 0
    assert sum(usage.cached_tokens for usage in served.usage.values()) > 0
    base = [served.usage[request.id] for request in asked if request.adapter is None]
    drafted, accepted = sum(usage.drafted_tokens for usage in base), sum(usage.accepted_tokens for usage in base)
    assert accepted > 0.8 * drafted > 0
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])


def seeded(world: World) -> list[Request]:
    """Each twice, so that outputs are known when they are asked for again; greedy, and at two temperatures."""
    return [
        replace(request, sampling=replace(request.sampling, temperature=(0.0, 0.7, 0.2)[place % 3], seed=place))
        for name in "ab"
        for place, request in enumerate(make_requests(world, [*LENGTHS, 21], 24, namespace=b"a", name=name))
    ]


def run(world: World, asked: list[Request], settings: RunnerSettings, proposer: Proposer | None) -> Served:
    runner = world.runner(settings)
    capacity = replace(runner.capacity, swap_seconds=1e-6, recompute_seconds=1e-4)
    speculator = None if proposer is None else Speculator(proposer, Control(6))
    scheduler = Scheduler(capacity, slot_patience=0.2, speculator=speculator)
    served = serve(world, scheduler, runner, asked, depth=2)
    if proposer is not None:
        assert scheduler.load().preemptions > 0
        assert scheduler.load().adapter_evictions > 0
        assert sum(usage.accepted_tokens for usage in served.usage.values()) > 0
        assert sum(usage.drafted_tokens - usage.accepted_tokens for usage in served.usage.values()) > 0
    return served


@pytest.mark.parametrize("world", ["mistral"], indirect=True)
def test_seeded_answers_are_those_without_drafts(world: World) -> None:
    plain = seeded(world)
    roomy = replace(SETTINGS, max_num_seqs=16, num_kv_blocks=400, max_adapters=8)
    answers = run(world, plain, roomy, None).tokens
    asked = [
        replace(request, sampling=replace(request.sampling, speculation=(3, 16, None, 1, 0)[place % 5]))
        for place, request in enumerate(plain)
    ]
    scripted = ScriptedProposer(lambda request: answers[request.id], 0.7, vocab=world.model.spec.vocab_size)
    for proposer in (NgramProposer(), SuffixProposer(), scripted):
        assert run(world, asked, SETTINGS, proposer).tokens == answers
