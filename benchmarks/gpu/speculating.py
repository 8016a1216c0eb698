"""What drafts bring a single stream, and what they cost where they bring nothing."""

from dataclasses import replace
from typing import Any

from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station

WANTED_GAIN = 2.8  # of 3.36 tokens a step, at acceptance 0.8 with four drafts
MOST_LOST_REFUSED, MOST_LOST_IN_BATCH = 0.05, 0.01


async def accepted(station: Station) -> Row:
    """Four drafts a step, each taken with probability 0.8 if those before it were."""
    measured, seconds = await _compare(station, "single", acceptance=0.8, drafts=4)
    gain = round(measured["tokens_per_s"] / measured["reference_tokens_per_s"], 3)
    measured |= {"gain": gain, "wanted_over_gain": round(WANTED_GAIN / gain, 3)}
    return _row("spec-accepted", measured, seconds, {"wanted_over_gain": 1.0})


async def refused(station: Station) -> Row:
    """As many drafts as the engine likes, none of which is ever taken."""
    measured, seconds = await _compare(station, "single", acceptance=0.0, drafts=None)
    return _row("spec-refused", _with_loss(measured), seconds, {"lost_share": MOST_LOST_REFUSED})


async def large_batch(station: Station) -> Row:
    """As many drafts as the engine likes, of which most would be taken."""
    measured, seconds = await _compare(station, "batch128", acceptance=0.8, drafts=None, repeats=2)
    return _row("spec-batch128", _with_loss(measured), seconds, {"lost_share": MOST_LOST_IN_BATCH})


async def _compare(
    station: Station, name: str, *, acceptance: float, drafts: int | None, repeats: int = 3
) -> tuple[dict[str, Any], tuple[float, ...]]:
    """With drafts and without, turn by turn on one engine."""
    work = station.shape.workload(name)
    await station.server.order("script", acceptance=acceptance)
    plain, drafted = [], []
    await station.play([replace(item, speculation=drafts) for item in station.items(work, 0)])  # what it learns by
    for seed in range(1, 1 + (station.setting.repeats or repeats)):
        items = station.items(work, seed)
        plain.append(await station.play([replace(item, speculation=0) for item in items]))
        drafted.append(await station.play([replace(item, speculation=drafts) for item in items]))
    told = await station.server.order("script", acceptance=acceptance)
    tokens = work.requests * work.output
    measured = {
        "tokens_per_s": round(tokens / min(run.seconds for run in drafted), 1),
        "reference_tokens_per_s": round(tokens / min(run.seconds for run in plain), 1),
        "drafted_steps": told["steps"],
        "tokens_a_drafted_step": round(told["tokens"] / told["steps"], 3) if told["steps"] else None,
    }
    return measured, tuple(round(run.seconds, 3) for run in drafted)


def _with_loss(measured: dict[str, Any]) -> dict[str, Any]:
    return measured | {"lost_share": round(1 - measured["tokens_per_s"] / measured["reference_tokens_per_s"], 4)}


def _row(name: str, measured: dict[str, Any], seconds: tuple[float, ...], bounds: dict[str, float]) -> Row:
    return Row(name, 0, measured["tokens_per_s"], seconds=seconds, measured=measured, bounds=bounds)
