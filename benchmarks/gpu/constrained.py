"""What a JSON schema costs the answers that it binds, and those beside them."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from benchmarks.gpu.recording import Recording
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station
from benchmarks.workloads import Item

LIBRARY = "llguidance"
FEW = 8  # of a batch, one request is bound

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 999999},
        "customer": {"type": "string", "maxLength": 60},
        "status": {"enum": ["open", "paid", "shipped", "returned"]},
        "price": {"type": "number", "minimum": 0, "maximum": 10000},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "maxLength": 60},
                "zip": {"type": "string", "pattern": "^\\d{5}$"},
            },
            "required": ["street", "zip"],
            "additionalProperties": False,
        },
    },
    "required": ["id", "customer", "status", "price", "tags", "address"],
    "additionalProperties": False,
}
SCHEMA = json.dumps({"type": "array", "items": ORDER, "minItems": 500})  # so that no answer ends before its time


async def constrained(station: Station) -> Row:
    """batch32 on the base: nobody bound, everybody bound, one in eight bound; turn by turn on one engine."""
    if importlib.util.find_spec(LIBRARY) is None:
        return Row("constrained", 0, measured={"not_measured": f"{LIBRARY} is not installed on this machine"})
    work = station.shape.workload("batch32")
    plain, bound, mixed = [], [], []
    await station.play(_bound(station.items(work, 0)[:4], every=1))  # the schema is compiled, its kernel too
    for seed in range(1, 1 + (station.setting.repeats or 2)):
        items = station.items(work, seed)
        plain.append(await station.play(items))
        bound.append(await station.play(_bound(items, every=1)))
        mixed.append(await station.play(_bound(items, every=FEW)))
    free = [place for place in range(work.requests) if place % FEW]
    fastest = min(run.seconds for run in bound)
    return Row(
        workload="constrained",
        adapters=0,
        output_tokens_per_s=round(work.requests * work.output / fastest, 1),
        seconds=tuple(round(run.seconds, 3) for run in bound),
        measured={
            "unconstrained_tokens_per_s": round(work.requests * work.output / min(run.seconds for run in plain), 1),
            "cost": round(_least(bound, range(work.requests)) / _least(plain, range(work.requests)) - 1, 4),
            "neighbours_cost": round(_least(mixed, free) / _least(plain, free) - 1, 4),
        },
        bounds={"cost": 0.1, "neighbours_cost": 0.02},
    )


def _bound(items: Sequence[Item], every: int) -> list[Item]:
    return [replace(item, schema=SCHEMA) if at % every == 0 else item for at, item in enumerate(items)]


def _least(runs: Sequence[Recording], places: Sequence[int]) -> float:
    """Seconds from the first token to the last, the mean over these requests, in the run where it was least."""
    return min(mean(run.answers[place].times[-1] - run.answers[place].times[0] for place in places) for run in runs)
