"""Graphs, overlapped steps, cached prompts, swapping and eviction together change no token."""

from dataclasses import replace

import pytest

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World

LENGTHS = [1, 700, 2, 16, 290, 300, 31, 33, 100, 257, 210, 64, 129, 400, 48, 3, 511, 90, 215, 200, 7, 350, 140, 12]
TOKENS = 48  # enough that blocks run out several times, whenever the loads are done


@pytest.mark.parametrize("way", ["recompute", "swap"])
def test_answers_are_the_oracles(world: World, way: str) -> None:
    settings = RunnerSettings(
        max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=66, max_adapters=3, swap_bytes=64 * 2**20
    )
    runner = world.runner(settings)
    assert runner.capacity.swap_seconds > 0
    assert runner.capacity.recompute_seconds > 0
    swap = 1e-6 if way == "swap" else 1.0
    scheduler = Scheduler(replace(runner.capacity, swap_seconds=swap, recompute_seconds=1e-4), slot_patience=0.2)
    asked = [
        *make_requests(world, LENGTHS, tokens=TOKENS, namespace=b"a", name="a"),
        *make_requests(world, LENGTHS[::3], tokens=TOKENS, namespace=b"a", name="again"),
        *make_requests(world, LENGTHS[::3], tokens=TOKENS, namespace=b"b", name="b"),
    ]

    served = serve(world, scheduler, runner, asked, depth=2)

    load = scheduler.load()
    assert load.preemptions > 0
    assert load.adapter_evictions > 0
    assert served.most_in_flight == 2
    assert (served.swapped > 0) == (way == "swap")
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])


def test_cached_prompts_change_no_token(world: World) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=150, max_adapters=4)
    runner = world.runner(settings)
    scheduler = Scheduler(runner.capacity, slot_patience=0.2)
    asked = [
        request
        for again in range(3)
        for request in make_requests(world, [64, 300, 33, 128, 16, 200], 12, namespace=b"a", name=f"{again}-")
    ]

    served = serve(world, scheduler, runner, asked, depth=2)

    assert sum(usage.cached_tokens for usage in served.usage.values()) > 0
    assert served.copied > 0, "a prompt of whole blocks computes its last token in a copy"
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])
