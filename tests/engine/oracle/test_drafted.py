"""A draft model, few blocks and slots, chunks, swapping, prefixes found: no token changes."""

from dataclasses import replace

import pytest

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from chorus_engine.speculation import Control, Speculator
from tests.engine.oracle.support.serve import make_requests, serve
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
