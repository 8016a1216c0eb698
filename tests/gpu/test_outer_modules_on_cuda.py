"""LoRA on lm_head and embed_tokens on CUDA, in turn with graphs that know nothing of it."""

from dataclasses import replace

import pytest
import torch

from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.checkpoints import OUTER_ADAPTERS
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World, answers, make_world

# What peft warns of does not happen here: nothing is merged, and both modules are saved in full.
pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def outer_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.backends.cuda.matmul.allow_tf32 = False
    return make_world(request.param, tmp_path_factory.mktemp(request.param), OUTER_ADAPTERS, device="cuda")


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
def test_float32_tokens_are_the_oracles(outer_world: World, eager: bool) -> None:
    settings = RunnerSettings(max_num_seqs=8, num_kv_blocks=64, max_adapters=4, max_vocab_adapters=3)
    runner = outer_world.runner(settings, eager=eager)
    lengths = [1, 700, 2, 300, 16, 17, 200, 7, 511, 33, 100, 64]
    jobs = [*outer_world.jobs(lengths), *outer_world.jobs(lengths, seed=3)]
    driver = Driver(runner, outer_world.memory, chunk=96, budget=256)
    driver.run(jobs)
    assert driver.evictions > 0
    check(outer_world.oracle, answers(jobs))


def test_overlapped_steps_and_few_pages_change_no_token(outer_world: World) -> None:
    settings = RunnerSettings(
        max_num_seqs=8, max_num_batched_tokens=128, num_kv_blocks=66, max_lora_rank=24, max_vocab_adapters=1
    )
    runner = outer_world.runner(settings)
    scheduler = Scheduler(replace(runner.capacity, recompute_seconds=1e-4), slot_patience=0.2)
    asked = make_requests(outer_world, [1, 300, 2, 16, 90, 31, 33, 100, 48, 3, 64, 7, 12, 200], tokens=24)

    served = serve(outer_world, scheduler, runner, asked, depth=2)

    assert scheduler.load().adapter_evictions > 0
    check(outer_world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])
