"""Rows about the engine itself: its start, its memory, and when the device has nothing to do."""

import asyncio
from typing import Any

from benchmarks.gpu import idle
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station

TRACE_AFTER = 0.8  # seconds into a run, by when all its rows decode
TRACE_SECONDS = 0.15
TRACE_NAME = "h200-decode-trace.json.gz"


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


async def idle_share(station: Station) -> Row:
    """Trace some steps of 32 decoding rows; the trace is kept beside the results."""
    work = station.shape.workload("trace")
    raw = station.setting.work / "trace.json"
    await station.server.order("profile", seconds=0.01, path=str(raw))  # pays for the profiler's own start
    playing = asyncio.create_task(station.play(station.items(work, 1)))
    await asyncio.sleep(TRACE_AFTER)
    await station.server.order("profile", seconds=TRACE_SECONDS, path=str(raw))
    run = await playing
    events = idle.read_trace(raw)
    found = idle.measure(events)
    kept = station.setting.results / TRACE_NAME
    idle.keep(events, kept)
    step = run.step_seconds()
    assert found is not None, "the trace has no work of the device"
    share = found.share if found.between_steps is None else found.between_steps
    return Row(
        "idle",
        0,
        step_ms=None if step is None else round(step * 1e3, 3),
        limit_step_ms=round(station.floor.mean_step(work, 0) * 1e3, 3),
        measured={
            "idle_between_steps": round(share, 4),
            "idle_share": round(found.share, 4),
            "graphs": found.steps,
            "traced_ms": round(found.seconds * 1e3, 1),
            "trace": kept.name,
        },
        bounds={"idle_between_steps": 0.03},
    )
