"""Greedy tokens in float32 are those of transformers + PEFT, whatever the batch, the chunking and the memory."""

from chorus_engine.runner import RunnerSettings
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.truth import check
from tests.engine.oracle.support.world import World, answers, without_adapter

LENGTHS = [1, 2, 3, 7, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65, 100, 129, 200, 257, 300, 400, 511, 600, 699, 700]
SMALL = [1, 5, 16, 30, 33, 50, 64, 90, 120, 130, 17, 40, 2, 80]


def test_mixed_batches_with_chunked_prompts(world: World) -> None:
    runner = world.runner(RunnerSettings(max_num_seqs=16, num_kv_blocks=512))
    jobs = world.jobs(LENGTHS)
    Driver(runner, world.memory, chunk=96, budget=256).run(jobs)
    check(world.oracle, answers(jobs))


def test_adapters_change_nearly_every_answer(world: World) -> None:
    runner = world.runner(RunnerSettings(max_num_seqs=64, num_kv_blocks=512))
    jobs = [job for seed in range(4) for job in world.jobs([9, 14, 20, 33, 40], seed=seed) if job.adapter]
    base = without_adapter(jobs)
    Driver(runner, world.memory).run([*jobs, *base])
    check(world.oracle, answers([*jobs, *base]))
    differing = sum(a.tokens != b.tokens for a, b in zip(answers(jobs), answers(base), strict=True))
    assert differing >= 0.95 * len(jobs)


def test_preemption_changes_no_token(world: World) -> None:
    runner = world.runner(RunnerSettings(max_num_seqs=8, num_kv_blocks=64))
    jobs = world.jobs([*SMALL, 300, 200, 250, 150, 260, 190], tokens=12, seed=1)
    Driver(runner, world.memory, chunk=40, budget=120).run(jobs)
    assert sum(job.preemptions for job in jobs) > 0
    check(world.oracle, answers(jobs))


def test_eviction_changes_no_token(world: World) -> None:
    runner = world.runner(RunnerSettings(max_num_seqs=4, num_kv_blocks=128, max_adapters=2, max_lora_rank=64))
    jobs = world.jobs(SMALL, seed=2)
    driver = Driver(runner, world.memory)
    driver.run(jobs)
    assert driver.evictions > 0
    check(world.oracle, answers(jobs))
