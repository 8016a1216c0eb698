"""LoRA on lm_head and embed_tokens, beside plain adapters and the base, says what transformers + PEFT say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER
from chorus_engine.runner import RunnerSettings
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.checkpoints import OUTER_ADAPTERS, AdapterShape, family_config
from tests.engine.oracle.support.driver import Driver
from tests.engine.oracle.support.reading import check_readings, make_readers
from tests.engine.oracle.support.serve import make_requests, serve
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World, answers, make_world, without_adapter

# What peft warns of does not happen here: nothing is merged, and both modules are saved in full.
pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
TIED = {"llama": True, "qwen2": False}


@pytest.fixture(scope="module", params=TIED)
def outer_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)  # tiny products, and the machine is shared
    family = request.param
    assert family_config(family).tie_word_embeddings == TIED[family]
    return make_world(family, tmp_path_factory.mktemp(family), OUTER_ADAPTERS)


def test_mixed_batches_with_chunked_prompts(outer_world: World) -> None:
    runner = outer_world.runner(RunnerSettings(max_num_seqs=14, num_kv_blocks=256, max_vocab_adapters=5))
    jobs = outer_world.jobs([1, 2, 3, 15, 16, 17, 31, 33, 48, 64, 100, 129, 200, 257], tokens=10)
    base = without_adapter(jobs)
    Driver(runner, outer_world.memory, chunk=96, budget=256).run([*jobs, *base])
    check(outer_world.oracle, answers([*jobs, *base]))
    tuned = [(job, alone) for job, alone in zip(jobs, base, strict=True) if job.adapter]
    assert sum(job.token_ids != alone.token_ids for job, alone in tuned) >= 0.9 * len(tuned)


def test_scheduled_with_few_pages_outside_the_layers(outer_world: World) -> None:
    settings = RunnerSettings(
        max_num_seqs=6, max_num_batched_tokens=96, num_kv_blocks=66, max_lora_rank=24, max_vocab_adapters=1
    )
    runner = outer_world.runner(settings)
    scheduler = Scheduler(replace(runner.capacity, recompute_seconds=1e-4), slot_patience=0.2)
    asked = make_requests(outer_world, [1, 300, 2, 16, 90, 31, 33, 100, 48, 3, 64, 7, 12, 200], tokens=16)

    served = serve(outer_world, scheduler, runner, asked, depth=2)

    assert scheduler.load().adapter_evictions > 0, "three pages a module hold no two of the larger ones"
    check(outer_world.oracle, [Answer(r.prompt, r.adapter, tuple(served.tokens[r.id])) for r in asked])


def test_prompts_are_read_with_the_adapters_own_head(outer_world: World) -> None:
    settings = RunnerSettings(max_num_seqs=6, max_num_batched_tokens=96, max_lora_rank=24, max_vocab_adapters=5)
    runner = outer_world.runner(settings)
    asked = make_readers(outer_world, [5, 30, 2, 16, 90, 31, 33, 70, 48, 3, 20, 7, 12, 60])

    served = serve(outer_world, Scheduler(runner.capacity), runner, asked, depth=2)

    scored = {request.adapter for request in asked if request.sampling.prompt_logprobs is not None}
    assert scored & {"head", "both", "all"}
    check_readings(outer_world.oracle, asked, served)


def test_adapters_tied_to_each_other_are_saved_and_served_in_full(tmp_path: Path) -> None:
    """In a world of its own: peft ties an adapter only where no other one has the module."""
    torch.set_num_threads(1)
    world = make_world("llama", tmp_path, {"tied": AdapterShape(6, ["lm_head", "q_proj"], tied=True)})
    assert {(OUTER_LAYER, EMBEDDING), (OUTER_LAYER, HEAD)} < world.memory.get("tied").modules.keys()
    jobs = world.jobs([3, 40, 17, 100, 2, 60], tokens=12)
    Driver(world.runner(RunnerSettings(max_num_seqs=8, num_kv_blocks=256)), world.memory).run(jobs)
    check(world.oracle, answers(jobs))
