"""The scheduler and the runner together, few blocks and few slots, one step or two in flight."""

from collections import deque

import pytest

from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import FinishReason, Request
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.runner import Pending, RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World, greedy

LENGTHS = [1, 700, 2, 16, 290, 300, 31, 33, 100, 257, 210, 64, 129, 400, 48, 3, 511, 90, 215, 200, 7, 350, 140, 12]


def footprint(world: World, name: str) -> AdapterFootprint:
    ranks = tuple((layer, module, len(a)) for (layer, module), (a, _) in world.memory.get(name).modules.items())
    return AdapterFootprint(name, ranks)


def requests(world: World, tokens: int) -> list[Request]:
    jobs = world.jobs(LENGTHS, tokens=tokens, seed=4)
    return [Request(str(i), job.prompt, greedy(tokens), job.adapter) for i, job in enumerate(jobs)]


def serve(world: World, scheduler: Scheduler, settings: RunnerSettings, depth: int) -> dict[str, list[int]]:
    """Up to `depth` steps launched and not committed, until all requests have ended; request id → tokens."""
    runner = world.runner(settings)
    flights: deque[tuple[StepPlan, Pending]] = deque()
    tokens: dict[str, list[int]] = {}
    now = 0.0
    while True:
        now += 0.01
        plan = scheduler.schedule(now)
        if plan is not None:
            flights.append((plan, runner.launch(plan)))
        if plan is None and not flights:
            return tokens
        if plan is None or len(flights) >= depth:
            oldest, pending = flights.popleft()
            for output in scheduler.commit(oldest, pending.result(), now):
                tokens.setdefault(output.request_id, []).extend(token.token_id for token in output.tokens)
                assert output.finish in (None, FinishReason.LENGTH)
            scheduler.check()


@pytest.mark.parametrize("depth", [1, 2])
def test_preempted_evicted_and_chunked_answers_are_the_oracles(world: World, depth: int) -> None:
    settings = RunnerSettings(max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=66, max_adapters=3)
    scheduler = Scheduler(world.runner(settings).capacity, slot_patience=0.2)
    asked = requests(world, tokens=28)
    for name in world.adapters:
        scheduler.adapter_fetched(footprint(world, name))
    for request in asked:
        scheduler.add(request)

    tokens = serve(world, scheduler, settings, depth)

    load = scheduler.load()
    assert load.preemptions > 0
    assert load.adapter_evictions > 0
    check(world.oracle, [Answer(r.prompt, r.adapter, tuple(tokens[r.id])) for r in asked])
