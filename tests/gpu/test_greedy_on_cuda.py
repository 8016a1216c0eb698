"""The whole model on CUDA says what transformers + PEFT say."""

import pytest

from chorus_engine.runner import RunnerSettings
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.truth import check
from tests.engine.oracle.support.world import World, answers

LENGTHS = [1, 700, 2, 300, 16, 17, 200, 7, 511, 33, 100, 64]


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
def test_float32_tokens_are_the_oracles(world: World, eager: bool) -> None:
    runner = world.runner(RunnerSettings(max_num_seqs=8, num_kv_blocks=64, max_adapters=3), eager=eager)
    jobs = [*world.jobs(LENGTHS), *world.jobs(LENGTHS, seed=3)]
    driver = Driver(runner, world.memory, chunk=96, budget=256)
    driver.run(jobs)
    assert driver.evictions > 0
    assert sum(job.preemptions for job in jobs) > 0
    check(world.oracle, answers(jobs))
