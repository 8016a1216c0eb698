"""Drafts, right and wrong, in replayed graphs, overlapped steps, swapping and eviction change no token."""

from dataclasses import replace

import pytest

from chorus_engine.core.request import Request
from chorus_engine.model import LoadedModel
from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from chorus_engine.speculation import Control, NgramProposer, Proposer, ScriptedProposer, Speculator, SuffixProposer
from tests.engine.oracle.support.serve import Served, make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World

LENGTHS = [1, 700, 2, 16, 290, 300, 31, 33, 100, 257, 210, 64, 129, 400, 48, 3, 511, 90, 215, 200, 7, 350, 140, 12]
TOKENS = 40
# A first eight that fill few blocks to the last, so that some must give way when they grow, however fast guesses are.
CROWDED = [96, 100, 90, 110, 105, 93, 99, 108, 700, 48, 3, 511]
SETTINGS = RunnerSettings(
    max_num_seqs=8,
    max_num_batched_tokens=128,
    num_kv_blocks=66,
    max_adapters=3,
    swap_bytes=64 * 2**20,
    max_verified=64,
)
CROWDING = replace(SETTINGS, num_kv_blocks=50, max_num_batched_tokens=512)


def run(
    world: World,
    asked: list[Request],
    settings: RunnerSettings,
    way: str,
    proposer: Proposer | None,
    draft: LoadedModel | None = None,
) -> Served:
    runner = world.runner(settings, draft=draft)
    swap = 1e-6 if way == "swap" else 1.0
    capacity = replace(runner.capacity, swap_seconds=swap, recompute_seconds=1e-4)
    speculates = proposer is not None or draft is not None
    speculator = Speculator(proposer, Control(6)) if speculates else None
    scheduler = Scheduler(capacity, slot_patience=0.2, speculator=speculator)
    served = serve(world, scheduler, runner, asked, depth=2)
    if speculates:
        assert scheduler.load().preemptions > 0
        assert sum(usage.accepted_tokens for usage in served.usage.values()) > 0
        assert sum(usage.drafted_tokens - usage.accepted_tokens for usage in served.usage.values()) > 0
    return served


def fixed(request: Request, place: int) -> Request:
    """Some let the engine choose, some have none, others a number."""
    drafts = (4, None, 0, 7, 1, 16)[place % 6]
    return replace(request, sampling=replace(request.sampling, speculation=drafts))


@pytest.mark.parametrize("way", ["recompute", "swap"])
@pytest.mark.parametrize("guesses", ["scripted", "ngram"])
def test_answers_are_the_oracles(world: World, way: str, guesses: str) -> None:
    plain = make_requests(world, LENGTHS, tokens=TOKENS, namespace=b"a", name="a")
    proposer: Proposer = NgramProposer()
    if guesses == "scripted":
        answers = run(world, plain, replace(SETTINGS, num_kv_blocks=600), way, None).tokens
        proposer = ScriptedProposer(lambda request: answers[request.id], 0.7, vocab=world.model.spec.vocab_size)
    asked = [fixed(request, place) for place, request in enumerate(plain)]

    served = run(world, asked, SETTINGS, way, proposer)

    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])


@pytest.mark.parametrize("guesses", ["scripted", "suffix"])
def test_seeded_answers_are_those_without_drafts(world: World, guesses: str) -> None:
    """Each is asked for twice, so that outputs are known the second time."""
    plain = [
        replace(request, sampling=replace(request.sampling, temperature=(0.7, 0.2, 1.0)[place % 3], seed=place))
        for name in "ab"
        for place, request in enumerate(make_requests(world, CROWDED, TOKENS, namespace=b"a", name=name))
    ]
    answers = run(world, plain, replace(SETTINGS, num_kv_blocks=600), "swap", None).tokens
    proposer: Proposer = SuffixProposer()
    if guesses == "scripted":
        proposer = ScriptedProposer(lambda request: answers[request.id], 0.7, vocab=world.model.spec.vocab_size)
    asked = [fixed(request, place) for place, request in enumerate(plain)]

    served = run(world, asked, CROWDING, "swap", proposer)

    assert served.tokens == answers


@pytest.mark.parametrize("way", ["recompute", "swap"])
def test_the_model_guesses_its_own_answers(world: World, way: str) -> None:
    """As its own draft model, without adapters: where a request has none, all but the worst ties are guessed."""
    asked = [
        fixed(request, place)
        for place, request in enumerate(make_requests(world, LENGTHS, tokens=TOKENS, namespace=b"a", name="a"))
    ]

    served = run(world, asked, replace(SETTINGS, num_kv_blocks=50), way, None, draft=world.model)

    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])
    base = [served.usage[request.id] for request in asked if request.adapter is None]
    drafted, accepted = sum(usage.drafted_tokens for usage in base), sum(usage.accepted_tokens for usage in base)
    assert accepted > 0.9 * drafted > 0
