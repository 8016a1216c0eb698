"""How long the device does nothing, and what it does else, from a trace of the profiler."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of what occupies the device
FIELDS = ("ph", "cat", "name", "pid", "tid", "ts", "dur")  # of an event, that are kept
ARGUMENTS = ("correlation", "stream", "grid", "block")
NAME = 60  # characters of a kernel's name that tell it from others
GRAPH_KERNELS = 8  # what one launch brought at least, where that launch was a graph

Span = tuple[float, float]  # microseconds


@dataclass(frozen=True, slots=True)
class Idle:
    seconds: float  # of the trace, from the first work to the last
    share: float  # of that time in which nothing ran
    between_steps: float | None  # the part of it that lies between two graphs; None without graphs
    steps: int  # graphs launched


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Events of a trace file, gzipped or not."""
    data = path.read_bytes()
    events: list[dict[str, Any]] = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)["traceEvents"]
    return events


def device_work(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event.get("cat") in WORK and "dur" in event]


def measure(events: Iterable[dict[str, Any]]) -> Idle | None:
    """None for a trace in which nothing ran on the device."""
    work = device_work(events)
    if not work:
        return None
    busy = union([(event["ts"], event["ts"] + event["dur"]) for event in work])
    whole = busy[-1][1] - busy[0][0]
    gaps = [(end, begin) for (_, end), (begin, _) in pairwise(busy)]
    graphs = _graphs(work)
    between = [
        min(gap[1], later[0]) - max(gap[0], earlier[1])
        for earlier, later in pairwise(graphs)
        for gap in gaps
        if gap[0] < later[0] and gap[1] > earlier[1]
    ]
    idle = sum(end - begin for begin, end in gaps)
    return Idle(whole / 1e6, idle / whole, sum(between) / whole if graphs else None, len(graphs))


def by_kernel(events: Iterable[dict[str, Any]], most: int = 16) -> dict[str, float]:
    """Each kernel's share of the time, the largest first, by how far its end lies behind every end before.

    Kernels that are launched early wait for the one before, so that their own durations overlap and say little.
    """
    times: dict[str, float] = defaultdict(float)
    work = sorted(device_work(events), key=lambda event: float(event["ts"] + event["dur"]))
    last = min((event["ts"] for event in work), default=0.0)
    for event in work:
        end = event["ts"] + event["dur"]
        times[event.get("name", "")[:NAME]] += end - last
        last = end
    whole = sum(times.values())
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return {name: round(time / whole, 4) for name, time in ordered[:most]}


def union(spans: Sequence[Span]) -> list[Span]:
    """Sorted, and those that touch are one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def keep(events: Iterable[dict[str, Any]], path: Path, most: int = 10_000) -> None:
    """Gzip the device's part of a trace, for chrome://tracing or Perfetto: at most so many events, from its middle."""
    work = sorted(device_work(events), key=lambda event: float(event["ts"]))
    skip = max(0, len(work) - most) // 2
    kept = [{**_pick(event, FIELDS), "args": _pick(event.get("args", {}), ARGUMENTS)} for event in work]
    with gzip.open(path, "wt", compresslevel=9) as file:
        json.dump({"traceEvents": kept[skip : skip + most]}, file, separators=(",", ":"))


def _pick(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _graphs(work: Iterable[dict[str, Any]]) -> list[Span]:
    """First start and last end of each launch of a graph: its kernels share the launch's correlation."""
    launches: dict[int, list[Span]] = defaultdict(list)
    for event in work:
        if "correlation" in event.get("args", {}):
            launches[event["args"]["correlation"]].append((event["ts"], event["ts"] + event["dur"]))
    spans = [spans for spans in launches.values() if len(spans) >= GRAPH_KERNELS]
    return sorted((min(begin for begin, _ in each), max(end for _, end in each)) for each in spans)
