"""The harness as it runs on a card, on CPU with a tiny model: processes, streams, rows, file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commit import ROOT
from benchmarks.gpu.__main__ import Run, choose
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Row
from benchmarks.gpu.specs import SPECS, Spec
from benchmarks.gpu.station import Setting, Station
from benchmarks.workloads import TINY

pytestmark = pytest.mark.xdist_group("rows")  # what most of them look at takes long to make


def run(folder: Path, rows: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--shape", "tiny", "--rows", rows]
    command += ["--results", str(folder), "--commit", "abc", "--repeats", "2"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "GRPC_VERBOSITY": "ERROR"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[str, Any] = json.loads((folder / "h200.json").read_text())
    return results, done.stdout


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return run(tmp_path_factory.mktemp("results"), "start,batch32,memory,lora-idle,in-process,poisson,loading")


def find(results: dict[str, Any], workload: str, adapters: int = 0) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        row for row in results["rows"] if (row["workload"], row["adapters"]) == (workload, adapters)
    ]
    (row,) = rows
    return row


@pytest.mark.parametrize("adapters", [0, 4])
def test_a_workload_has_rates_a_step_and_its_share(outcome: tuple[dict[str, Any], str], adapters: int) -> None:
    row = find(outcome[0], "batch32", adapters)
    assert row["output_tokens_per_s"] > 0
    assert row["prompt_tokens_per_s"] == pytest.approx(2 * row["output_tokens_per_s"], rel=0.01)
    assert row["step_ms"] > 0
    assert 0 < row["share_of_limit"] < 1
    assert len(row["seconds"]) == 2


def test_both_ways_into_the_engine_are_measured(outcome: tuple[dict[str, Any], str]) -> None:
    row = find(outcome[0], "in-process")
    assert row["output_tokens_per_s"] > 0
    assert row["measured"]["over_grpc_tokens_per_s"] > 0
    assert row["bounds"] == {"cost_of_grpc": 0.02}


def test_arrivals_give_times_between_tokens(outcome: tuple[dict[str, Any], str]) -> None:
    measured = find(outcome[0], "poisson")["measured"]
    assert measured["requests"] > 0
    assert 0 < measured["between_tokens_median_ms"] <= measured["between_tokens_p99_ms"]
    assert measured["first_token_median_ms"] > 0


def test_loads_are_timed_beside_streams(outcome: tuple[dict[str, Any], str]) -> None:
    row = find(outcome[0], "loading", 4)
    assert row["measured"]["between_tokens_p99_ms"] > 0
    assert row["measured"]["first_token_of_a_load_median_ms"] > 0
    assert row["bounds"] == {"loading_over_without": 1.1}


def test_memory_and_start_are_reported(outcome: tuple[dict[str, Any], str]) -> None:
    memory = find(outcome[0], "memory", 64)["measured"]
    assert memory["kv_tokens"] > 0
    assert 0 < memory["kv_wasted_share"] < 1
    assert find(outcome[0], "start", 64)["measured"]["warm_s"] > 0


def test_what_enabled_lora_costs_is_worked_out(outcome: tuple[dict[str, Any], str]) -> None:
    assert "lost_share" in find(outcome[0], "lora-idle")["measured"]


def test_the_file_says_what_was_measured_where(outcome: tuple[dict[str, Any], str]) -> None:
    results, printed = outcome
    assert (results["commit"], results["device"]) == ("abc", "cpu")
    assert results["versions"]["torch"]
    assert results["measured_limits"]["copy_tb_per_s"] > 0
    assert "engine lora served after" in printed


def test_a_second_reader_finds_the_first_ones_blocks(tmp_path: Path) -> None:
    results, _ = run(tmp_path, "prefix")
    measured = find(results, "prefix")["measured"]
    assert measured["cached_tokens"] == measured["shared_tokens"] == 96


def test_drafts_are_measured_beside_none(tmp_path: Path) -> None:
    results, _ = run(tmp_path, "spec-accepted,spec-refused,spec-batch128")
    accepted = find(results, "spec-accepted")["measured"]
    assert accepted["tokens_a_drafted_step"] == pytest.approx(3.36, abs=1.2)
    assert accepted["gain"] > 0
    assert find(results, "spec-refused")["measured"]["drafted_steps"] > 0
    assert find(results, "spec-refused")["bounds"] == {"lost_share": 0.05}
    assert "lost_share" in find(results, "spec-batch128")["measured"]


async def test_a_row_that_fails_is_named_and_the_next_one_gets_another_engine(tmp_path: Path) -> None:
    async def lose_the_engine(station: Station) -> Row:
        await station.server.kill()
        await station.play(station.items(TINY.workload("single"), 1))
        return Row("never", 0)

    specs = [Spec("lost", "base", lose_the_engine), *(spec for spec in choose("single") if spec.engine == "base")]
    results = Results(tmp_path / "h200.json", "abc")
    run = Run(specs, Setting(TINY, "cpu", tmp_path, tmp_path, repeats=1), results)
    await run.all()
    assert run.failed == ["lost on base"]
    assert [row["workload"] for row in results.values["rows"]] == ["single"]


def test_rows_that_are_none_are_named() -> None:
    assert choose("") == [spec for spec in SPECS if spec.name != "profile"]
    assert [spec.engine for spec in choose("batch32")] == ["lora", "base"]
    with pytest.raises(SystemExit, match="ROWS names batch33; rows are batch128, batch32"):
        choose("single,batch33")
