"""Idle time of a made-up trace."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.idle import by_kernel, keep, measure, read_trace, union


def kernel(begin: float, duration: float, launch: int) -> dict[str, Any]:
    return {"cat": "kernel", "ts": begin, "dur": duration, "args": {"correlation": launch}}


def graph(begin: float, launch: int, inside: float = 0.0) -> list[dict[str, Any]]:
    """Ten kernels of 10 µs, `inside` apart."""
    return [kernel(begin + i * (10 + inside), 10, launch) for i in range(10)]


HOST = {"cat": "cuda_runtime", "ts": 0, "dur": 10_000, "args": {"correlation": 1}}


def test_a_device_that_always_works_is_never_idle() -> None:
    found = measure([HOST, *graph(0, 1), *graph(100, 2)])
    assert found is not None
    assert (found.share, found.between_steps, found.steps) == (0.0, 0.0, 2)


def test_time_between_graphs_is_told_from_time_inside() -> None:
    found = measure([*graph(0, 1, inside=1), *graph(119, 2, inside=1)])  # 9 µs inside each, 10 µs between
    assert found is not None
    whole = 119 + 109
    assert found.share == pytest.approx(28 / whole)
    assert found.between_steps == pytest.approx(10 / whole)
    assert found.seconds == pytest.approx(whole / 1e6)


def test_a_copy_between_graphs_is_work() -> None:
    copy = {"cat": "gpu_memcpy", "ts": 102, "dur": 5}
    found = measure([*graph(0, 1), copy, *graph(110, 2)])
    assert found is not None
    assert found.between_steps == pytest.approx(5 / 210)


def test_work_on_two_streams_counts_once() -> None:
    assert union([(0, 10), (5, 8), (8, 12), (20, 30)]) == [(0, 12), (20, 30)]


def test_without_graphs_only_the_whole_is_known() -> None:
    found = measure([kernel(0, 10, 1), kernel(20, 10, 2)])
    assert found is not None
    assert found.between_steps is None
    assert found.share == pytest.approx(1 / 3)


def test_an_empty_trace_says_nothing() -> None:
    assert measure([HOST]) is None


def test_what_is_kept_is_the_middle_and_can_be_read_again(tmp_path: Path) -> None:
    raw, kept = tmp_path / "trace.json", tmp_path / "kept.json.gz"
    raw.write_text(json.dumps({"traceEvents": [HOST, *(kernel(i, 1, i) for i in range(10))]}))
    keep(read_trace(raw), kept, most=4)
    assert [event["ts"] for event in read_trace(kept)] == [3, 4, 5, 6]


def test_kernels_are_told_by_their_share() -> None:
    events = [{**kernel(0, 30, 1), "name": "a"}, {**kernel(30, 50, 1), "name": "b"}, {**kernel(80, 20, 1), "name": "a"}]
    assert by_kernel(events) == {"a": 0.5, "b": 0.5}
    assert by_kernel([*events, {**kernel(100, 100, 1), "name": "c"}], most=1) == {"c": 0.5}


def test_a_kernel_that_waits_for_another_does_not_count_its_waiting() -> None:
    events = [{**kernel(0, 80, 1), "name": "a"}, {**kernel(10, 90, 1), "name": "b"}]
    assert by_kernel(events) == {"a": 0.8, "b": 0.2}
