"""The file of results: rows of several runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import compared
from benchmarks.gpu.floors import Limits, Sizes
from benchmarks.gpu.plot import plot
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Row
from benchmarks.gpu.table import tables
from benchmarks.workloads import LLAMA_8B


def row(workload: str, adapters: int = 0, rate: float = 100.0, **fields: Any) -> Row:
    return Row(workload, adapters, output_tokens_per_s=rate, prompt_tokens_per_s=2 * rate, **fields)


def test_a_row_replaces_its_elder_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "h200.json"
    first = Results(path, "one")
    first.put(row("single", rate=1.0), with_aims=True)
    first.put(row("batch32", 32), with_aims=True)
    second = Results(path, "two (dirty)")
    second.put(row("single", rate=2.0), with_aims=True)
    kept = json.loads(path.read_text())
    assert kept["commit"] == "two (dirty)"
    assert [(each["workload"], each["output_tokens_per_s"], each["commit"]) for each in kept["rows"]] == [
        ("batch32", 100.0, "one"),
        ("single", 2.0, "two (dirty)"),
    ]


def test_a_new_folder_begins_with_what_was_kept(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new" / "h200.json"
    Results(old, "one").put(row("single"), with_aims=True)
    Results(new, "two", before=old).put(row("batch32"), with_aims=True)
    assert {each["workload"] for each in json.loads(new.read_text())["rows"]} == {"single", "batch32"}


def test_a_row_says_what_it_missed(tmp_path: Path) -> None:
    slow = row("single", rate=224.0).to_json(with_aims=True)
    fast = row("single", rate=226.0).to_json(with_aims=True)
    assert (slow["vllm_tokens_per_s"], slow["reach"], slow["aim"]) == (203, 225, 255)
    assert slow["missed"] == ["224 < 225 tok/s"]
    assert fast["missed"] == []
    late = Row("poisson", 0, measured={"p99_over_median": 3.5}, bounds={"p99_over_median": 3.0})
    assert late.missed == ["p99_over_median 3.5 > 3.0"]


def test_prefill_is_about_the_prompt() -> None:
    assert row("prefill", rate=21_550.0).missed == []
    assert row("prefill", rate=20_000.0).missed == ["40,000 < 43,000 tok/s"]


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    results = Results(tmp_path / "h200.json", "one")
    put = row("single", step_ms=4.0, measured={"first_token_median_ms": 3.0})
    results.put(put, with_aims=True)
    assert results.row("single", 0) == put
    assert results.row("single", 1) is None


def test_what_enabled_lora_costs_is_held_against_the_base() -> None:
    found = compared.lora_idle(row("lora-idle", rate=985.0), lambda *_: row("batch32", rate=1000.0))
    assert found.measured["lost_share"] == pytest.approx(0.015)
    assert found.missed == ["lost_share 0.015 > 0.01"]
    assert compared.lora_idle(row("lora-idle"), lambda *_: None).missed == []


def test_ranks_are_held_against_their_bytes() -> None:
    rows = {0: row("batch32", 0, step_ms=5.0), 32: row("batch32", 32, step_ms=6.0)}
    mixed = row("ranks-mixed", 32, step_ms=7.0, measured={"ranks": [8, 16, 32, 64]})
    limits = Limits(4.27e12, 4e12, 7e14)
    found = compared.ranks_mixed(mixed, lambda _, adapters: rows[adapters], Sizes.of(LLAMA_8B), limits)
    assert found.measured["bytes_ms"] == pytest.approx(1.18, abs=0.01)
    assert found.measured["cost_over_bytes"] == pytest.approx(2 / 1.18, rel=0.01)
    assert len(found.missed) == 1, "rank 16 costs 1.59 times its bytes, and this mix 1.70"


def test_the_plot_is_of_rows_that_both_ran(tmp_path: Path) -> None:
    path = tmp_path / "h200.png"
    assert not plot([Row("start", 0).to_json(with_aims=True)], path)
    assert plot([row(name).to_json(with_aims=True) for name in ("single", "prefill")], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_tables_are_of_what_was_measured(tmp_path: Path) -> None:
    results = Results(tmp_path / "h200.json", "one")
    results.put(row("single", step_ms=4.0, share_of_limit=0.8), with_aims=True)
    results.put(Row("start", 64, measured={"warm_s": 20.0}, bounds={"warm_s": 60.0}), with_aims=True)
    results.put(Row("idle", 0, measured={"share_by_kernel": {"matmul": 0.75}}), with_aims=True)
    text = tables(results.values)
    assert "| single | 0 | **100** | 203 | 225 | 255 | 4.00 | 80% |" in text
    assert "| start | 64 | warm_s 20.0 | warm_s 60.0 |" in text
    assert "| `matmul` | 75.0% |" in text
