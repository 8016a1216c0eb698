"""Embeddings and log probabilities of prompts, beside each other and generation, in chunks and after preemption."""

from dataclasses import replace

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.reading import check_readings, make_readers
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World

LENGTHS = [290, 2, 300, 31, 1, 1, 64, 200, 48, 3, 17, 7, 1, 80, 12, 2]


def test_what_is_read_of_prompts_is_the_oracles(world: World) -> None:
    settings = RunnerSettings(
        max_num_seqs=8, max_num_batched_tokens=16, num_kv_blocks=38, max_adapters=5, swap_bytes=64 * 2**20
    )
    runner = world.runner(settings)
    # Swapping is as good as free, and must not be done with what is being read.
    scheduler = Scheduler(replace(runner.capacity, swap_seconds=1e-9, recompute_seconds=1.0), slot_patience=0.2)
    generated = make_requests(world, [20, 30, 25, 30, 20], tokens=90, namespace=b"n", name="long")
    asked = make_readers(world, LENGTHS)

    served = serve(world, scheduler, runner, [*generated, *asked], depth=2)

    assert any(served.entered[request.id] > 1 for request in asked if request.reads_prompt)
    check_readings(world.oracle, asked, served)
    answered = [*generated, *(request for request in asked if request.sampling.max_tokens)]
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in answered])
