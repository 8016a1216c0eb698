"""The scheduler and the runner together, few blocks and few slots, one step or two in flight."""

from dataclasses import replace

import pytest

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World

LENGTHS = [1, 700, 2, 16, 290, 300, 31, 33, 100, 257, 210, 64, 129, 400, 48, 3, 511, 90, 215, 200, 7, 350, 140, 12]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("way", ["recompute", "swap"])
def test_preempted_evicted_and_chunked_answers_are_the_oracles(world: World, depth: int, way: str) -> None:
    settings = RunnerSettings(
        max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=66, max_adapters=3, swap_bytes=64 * 2**20
    )
    runner = world.runner(settings)
    swap = 1e-6 if way == "swap" else 1.0
    scheduler = Scheduler(replace(runner.capacity, swap_seconds=swap, recompute_seconds=1e-4), slot_patience=0.2)
    asked = make_requests(world, LENGTHS, tokens=28)

    served = serve(world, scheduler, runner, asked, depth)

    load = scheduler.load()
    assert load.preemptions > 0
    assert load.adapter_evictions > 0
    assert (served.swapped > 0) == (way == "swap")
    assert served.most_in_flight == depth
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])


@pytest.mark.parametrize("depth", [1, 2])
def test_cached_prompts_change_no_token(world: World, depth: int) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=150, max_adapters=4)
    runner = world.runner(settings)
    scheduler = Scheduler(runner.capacity, slot_patience=0.2)
    asked = [
        request
        for tenant in ("a", "b")
        for again in range(2)
        for request in make_requests(
            world, [64, 300, 33, 128, 16, 200], 12, namespace=tenant.encode(), name=f"{tenant}{again}-"
        )
    ]

    served = serve(world, scheduler, runner, asked, depth)

    assert sum(usage.cached_tokens for usage in served.usage.values()) > 0
    assert served.copied > 0, "a prompt of whole blocks computes its last token in a copy"
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])
