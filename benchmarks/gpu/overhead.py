"""Rows about the engine itself: its start, its memory, and when the device has nothing to do."""

import asyncio
from typing import Any

from benchmarks.gpu import idle
from benchmarks.gpu.recording import Recording
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station
from benchmarks.workloads import Workload

TRACE_AFTER = 0.8  # seconds into a run, by when all its rows decode
TRACE_SECONDS = 0.15
PROFILE_AFTER = 0.4  # the same, whatever it does then


async def start(station: Station) -> Row:
    """From nothing to serving; twice where no kernel was compiled before the first."""
    measured: dict[str, Any] = {}
    if station.cold:
        measured["cold_s"] = round(station.server.start_seconds, 1)
        await station.restart()
    measured["warm_s"] = round(station.server.start_seconds, 1)
    measured["adapters_drawn_s"] = round(station.server.adapter_seconds, 1)
    return Row("start", station.config.adapters, measured=measured, bounds={"warm_s": 60.0})


async def memory(station: Station) -> Row:
    """What is where on the device, and how much of the KV blocks in use holds no token."""
    work = station.shape.workload("batch128")
    run = await station.play(station.items(work, 1))
    waste = run.wasted_share(station.server.ready.block_size)
    parts = {f"{name}_gib": round(size / 2**30, 2) for name, size in station.server.ready.memory.items()}
    return Row(
        "memory",
        station.config.adapters,
        measured={
            **parts,
            "kv_tokens": station.server.ready.kv_blocks * station.server.ready.block_size,
            "kv_wasted_share": None if waste is None else round(waste, 4),
        },
        bounds={"kv_wasted_share": 0.04},
    )


async def idle_share(station: Station, *, adapters: int = 0) -> Row:
    """Some steps of 32 decoding rows; the trace is kept beside the results."""
    work = station.shape.workload("trace", adapters)
    events, run = await trace(station, work, TRACE_AFTER)
    kept = station.setting.results / f"h200-decode-{adapters}-adapters.json.gz"
    idle.keep(events, kept)
    found, step = idle.measure(events), run.step_seconds()
    assert found is not None, "the trace has no work of the device"
    share = found.share if found.between_steps is None else found.between_steps
    return Row(
        "idle",
        work.adapters,
        step_ms=None if step is None else round(step * 1e3, 3),
        limit_step_ms=round(station.floor.mean_step(work, station.rank) * 1e3, 3),
        measured={
            "idle_between_steps": round(share, 4),
            "idle_share": round(found.share, 4),
            "graphs": found.steps,
            "traced_ms": round(found.seconds * 1e3, 1),
            "trace": kept.name,
            "share_by_kernel": idle.by_kernel(events),
        },
        bounds={"idle_between_steps": 0.03},
    )


async def profile(station: Station, *, name: str, adapters: int = 0) -> Row:
    """What the device does in the middle of a workload, for whoever asks why it takes as long as it does."""
    work = station.shape.workload(name, adapters)
    events, _ = await trace(station, work, PROFILE_AFTER)
    found = idle.measure(events)
    assert found is not None, "the trace has no work of the device"
    measured = {"idle_share": round(found.share, 4), "share_by_kernel": idle.by_kernel(events)}
    return Row(f"profile-{name}", work.adapters, measured=measured)


async def trace(station: Station, work: Workload, after: float) -> tuple[list[dict[str, Any]], Recording]:
    """Events of a while that begins `after` seconds into a run, and the run."""
    raw = station.setting.work / "trace.json"
    await station.server.order("profile", seconds=0.01, path=str(raw))  # pays for the profiler's own start
    playing = asyncio.create_task(station.play(station.items(work, 1)))
    await asyncio.sleep(after)
    await station.server.order("profile", seconds=TRACE_SECONDS, path=str(raw))
    run = await playing
    return idle.read_trace(raw), run
