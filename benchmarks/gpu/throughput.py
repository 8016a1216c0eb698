"""Rows of one workload: tokens a second, and the decode step beside the least that it can take."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.gpu.recording import Recording
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station
from benchmarks.workloads import Workload


async def throughput(station: Station, *, name: str, adapters: int = 0, repeats: int = 2) -> Row:
    work = station.shape.workload(name, adapters)
    return to_row(station, work, await station.repeat(work, repeats))


async def lora_idle(station: Station) -> Row:
    """LoRA enabled and no adapter in the batch; what that costs is worked out once the base has been measured."""
    work = station.shape.workload("batch32")
    row = to_row(station, work, await station.repeat(work, 3))
    return replace(row, workload="lora-idle")


async def ranks_mixed(station: Station) -> Row:
    work = station.shape.workload("batch32", 32)
    row = to_row(station, work, await station.repeat(work, 3), ranks=list(station.config.ranks))
    return replace(row, workload="ranks-mixed")


async def in_process(station: Station) -> Row:
    """batch32 through gRPC and without it, turn by turn on one engine."""
    work = station.shape.workload("batch32")
    over_grpc, inside = [], []
    for seed in range(1, 1 + (station.setting.repeats or 3)):
        over_grpc.append(await station.play(station.items(work, seed)))
        inside.append(await station.in_process(work, seed + 100))
    slow, fast = min(run.seconds for run in over_grpc), min(run["seconds"] for run in inside)
    return Row(
        workload="in-process",
        adapters=0,
        output_tokens_per_s=round(work.requests * work.output / fast, 1),
        prompt_tokens_per_s=round(work.requests * work.prompt / fast, 1),
        step_ms=round(min(run["step"] for run in inside) * 1e3, 3),
        limit_step_ms=round(station.floor.mean_step(work, 0) * 1e3, 3),
        share_of_limit=round(station.floor.seconds(work, 0) / fast, 3),
        seconds=tuple(round(run["seconds"], 3) for run in inside),
        measured={
            "over_grpc_tokens_per_s": round(work.requests * work.output / slow, 1),
            "cost_of_grpc": round(1 - fast / slow, 4),
        },
        bounds={"cost_of_grpc": 0.02},
    )


def to_row(station: Station, work: Workload, runs: Sequence[Recording], **measured: Any) -> Row:
    """Of the fastest run: what else runs on a machine only adds time."""
    best = min(runs, key=lambda run: run.seconds)
    step = best.step_seconds() if work.output > 1 else None
    least = station.floor.mean_step(work, station.rank)
    first = median(answer.first_token for answer in best.answers)
    return Row(
        workload=work.name,
        adapters=work.adapters,
        output_tokens_per_s=round(best.output_tokens / best.seconds, 1),
        prompt_tokens_per_s=round(best.prompt_tokens / best.seconds, 1),
        step_ms=None if step is None else round(step * 1e3, 3),
        limit_step_ms=round(least * 1e3, 3) if step is not None else None,
        share_of_limit=round(station.floor.seconds(work, station.rank) / best.seconds, 3),
        seconds=tuple(round(run.seconds, 3) for run in runs),
        measured={"first_token_median_ms": round(first * 1e3, 1), **measured},
    )
