"""The KV cache takes the share of the card that the setting gives it, and no more."""

import gc

import torch

from chorus_engine.runner import RunnerSettings
from chorus_engine.runner.capacity import block_bytes
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.truth import check
from tests.engine.oracle.support.world import World, answers

GIB = 2**30


def used() -> int:
    free, total = torch.cuda.mem_get_info()
    return total - free


def test_cache_fills_its_share(world: World) -> None:
    jobs = world.jobs([5, 40, 300])
    gc.collect()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    share = (used() + 4 * GIB) / total

    runner = world.runner(RunnerSettings(max_num_seqs=8, max_num_batched_tokens=512, gpu_memory_utilization=share))
    Driver(runner, world.memory).run(jobs)

    check(world.oracle, answers(jobs))
    cache = runner.capacity.num_blocks * block_bytes(world.model.decoder.config, 16, torch.float32)
    print(f"{world.family}: {cache / GIB:.2f} GiB of cache, {used() / GIB:.2f} of {share * total / GIB:.2f} GiB used")
    assert 3 * GIB < cache < 4 * GIB  # the rest is for what steps hold
    assert used() < share * total + GIB // 2  # libraries load code as they are called
