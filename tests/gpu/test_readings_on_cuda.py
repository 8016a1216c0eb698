"""Embeddings and log probabilities of prompts beside generation: graphs, overlapped steps, preemption and eviction."""

from dataclasses import replace

from chorus_engine.llm import LLM, Sampling
from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.reading import check_readings, make_readers
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World
from tests.engine.oracle.test_readings import LENGTHS


def test_what_is_read_of_prompts_is_the_oracles(world: World) -> None:
    settings = RunnerSettings(
        max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=66, max_adapters=3, swap_bytes=64 * 2**20
    )
    runner = world.runner(settings)
    scheduler = Scheduler(replace(runner.capacity, swap_seconds=1e-9, recompute_seconds=1.0), slot_patience=0.2)
    generated = make_requests(world, [20, 30, 25, 30, 20, 200], tokens=90, namespace=b"n", name="long")
    asked = [
        replace(request, id=f"{turn}-{request.id}") for turn in range(3) for request in make_readers(world, LENGTHS)
    ]

    served = serve(world, scheduler, runner, [*generated, *asked], depth=2)

    assert served.most_in_flight == 2
    check_readings(world.oracle, asked, served)
    answered = [*generated, *(request for request in asked if request.sampling.max_tokens)]
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in answered])


def test_the_engine_without_services_answers_as_the_oracle(world: World) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=256, num_kv_blocks=200, max_adapters=3)
    llm = LLM(world.folder, world.adapters, device="cuda", dtype="float32", settings=settings)
    asked = make_requests(world, [1, 40, 300, 7, 16, 33, 90], tokens=12)
    tokens: list[list[int]] = [[] for _ in asked]
    sampling = Sampling(max_tokens=12, temperature=0, ignore_eos=True)
    for piece in llm.stream([r.prompt for r in asked], sampling, adapter=[r.adapter for r in asked]):
        tokens[piece.index].extend(token.token_id for token in piece.tokens)
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(t)) for r, t in zip(asked, tokens, strict=True)])
