"""The least time of a workload, against figures worked out by hand from the model's shape."""

import pytest

from benchmarks.gpu.floors import Floor, Limits, Sizes
from benchmarks.workloads import LLAMA_8B

SIZES = Sizes.of(LLAMA_8B)
FLOOR = Floor(SIZES, Limits(4.27e12, 3.93e12, 741e12))


def test_sizes_are_the_models() -> None:
    assert SIZES.weight_bytes == pytest.approx(15.01e9, rel=1e-3)
    assert SIZES.adapter_bytes(16) == pytest.approx(83.9e6, rel=1e-3)
    assert SIZES.kv_bytes == 131_072


def test_a_lone_stream_takes_the_weights_once_a_token() -> None:
    assert 1 / FLOOR.step(1, 0, 0, 0) == pytest.approx(285, rel=0.01)


def test_a_prompt_token_takes_fifteen_gflop_at_most() -> None:
    work = LLAMA_8B.workload("prefill")
    tokens = work.requests * work.prompt / FLOOR.seconds(work, 0)
    assert 49_000 < tokens < 53_000


def test_adapters_add_their_bytes() -> None:
    with_them, without = (LLAMA_8B.workload("batch32", count) for count in (32, 0))
    added = FLOOR.mean_step(with_them, 16) - FLOOR.mean_step(without, 16)
    assert added == pytest.approx(32 * SIZES.adapter_bytes(16) / 4.27e12)


def test_sixteen_rows_at_once_bound_the_overflow() -> None:
    work = LLAMA_8B.workload("overflow", 64)
    assert work.requests * work.output / FLOOR.seconds(work, 16) == pytest.approx(4200, rel=0.05), (
        "less what prompts and keys and values take"
    )
