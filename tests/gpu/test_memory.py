"""The KV cache takes the share of the card that the setting gives it, and no more."""

import torch

from chorus_engine.runner import RunnerSettings
from chorus_engine.runner.capacity import block_bytes
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.truth import check
from tests.engine.oracle.support.world import World, answers


def test_cache_fills_its_share(world: World) -> None:
    share = 0.05
    runner = world.runner(RunnerSettings(max_num_seqs=8, max_num_batched_tokens=512, gpu_memory_utilization=share))
    jobs = world.jobs([5, 40, 300])
    Driver(runner, world.memory).run(jobs)
    check(world.oracle, answers(jobs))
    free, total = torch.cuda.mem_get_info()
    cache = runner.capacity.num_blocks * block_bytes(world.model.decoder.config, 16, torch.float32)
    assert 0.5 * share * total < cache < share * total
    assert total - free < share * total + 2**30  # the CUDA context and libraries' own come beside it
