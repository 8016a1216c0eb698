"""Workloads: fresh prompts, adapters in turn, arrivals at a rate."""

import json

import pytest

from benchmarks.gpu.engines import ENGINES, EngineConfig
from benchmarks.gpu.row import AIMS
from benchmarks.gpu.specs import SPECS
from benchmarks.workloads import LLAMA_8B, SHAPES, TINY, Shape, adapter_digest, poisson, prompts


def test_prompts_are_fresh_each_repeat_and_the_same_for_a_seed() -> None:
    first, again, other = (prompts(3, 20, seed, LLAMA_8B.vocab) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(100 <= token < 120_000 for prompt in first for token in prompt)


def test_request_i_uses_adapter_i_mod_their_number() -> None:
    digests = [adapter_digest(index, 16) for index in range(8)]
    items = LLAMA_8B.workload("batch32", 3).items(1, LLAMA_8B.vocab, digests)
    assert [item.adapter for item in items[:7]] == [digests[i % 3] for i in range(7)]
    assert {item.adapter for item in LLAMA_8B.workload("batch32").items(1, LLAMA_8B.vocab)} == {None}


def test_adapters_of_different_ranks_have_different_names() -> None:
    assert len({adapter_digest(index, rank) for index in range(4) for rank in (8, 16)}) == 8


def test_arrivals_come_at_the_rate() -> None:
    items = poisson(LLAMA_8B.workload("single"), rate=50.0, seconds=20.0, seed=1, vocab=LLAMA_8B.vocab)
    arrivals = [item.arrival for item in items]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < 20.0
    assert 900 < len(items) < 1100, "1,000 are expected, give or take three times the root of that"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_prompts_stay_inside_the_vocabulary(shape: Shape) -> None:
    for work in shape.workloads.values():
        item = work.items(1, shape.vocab)[0]
        assert 0 <= min(item.prompt) <= max(item.prompt) < shape.vocab


def test_both_shapes_have_the_same_workloads() -> None:
    assert TINY.workloads.keys() == LLAMA_8B.workloads.keys()


def test_every_aim_has_a_row_and_every_row_an_engine() -> None:
    assert {name for name, _ in AIMS} <= {spec.name for spec in SPECS}
    assert {spec.engine for spec in SPECS} == {config.name for config in ENGINES}


@pytest.mark.parametrize("config", ENGINES, ids=lambda config: config.name)
def test_an_engines_settings_survive_the_way_to_its_process(config: EngineConfig) -> None:
    assert EngineConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
