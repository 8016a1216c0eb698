"""Rows about what others notice when adapters load."""

from collections.abc import Sequence
from statistics import median

from benchmarks.gpu.floors import Sizes
from benchmarks.gpu.recording import Answer, Recording, percentile
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station
from benchmarks.workloads import Item, prompts

RESIDENT = 32  # adapters that decode, of those of the engine; the rest are loaded in turn
LOADS_A_SECOND = 10.0
PROMPT, OUTPUT = 16, 1  # tokens of each request that comes for an adapter


async def loading(station: Station) -> Row:
    """Rows decode on resident adapters while a short request comes ten times a second: for a resident adapter, then
    each for one that has to be fetched and loaded. The times between the rows' tokens, turn by turn."""
    streams = station.shape.workload("trace", RESIDENT).requests
    resident, cold = station.server.digests[:RESIDENT], station.server.digests[RESIDENT:]
    alone = await station.play(station.items(station.shape.workload("trace", RESIDENT), 999))
    without, beside = [], []
    for seed in range(1, 1 + (station.setting.repeats or 3)):
        without.append(await station.play(items(station, seed, resident, alone.seconds)))
        beside.append(await station.play(items(station, seed + 100, cold, alone.seconds)))
    plain, loads = ([late(run.answers[:streams]) for run in runs] for runs in (without, beside))
    return Row(
        workload="loading",
        adapters=min(RESIDENT, streams),
        measured={
            "loads_per_s": LOADS_A_SECOND,
            "adapter_mb": round(Sizes.of(station.shape).adapter_bytes(station.rank) / 1e6, 1),
            "between_tokens_p99_ms": round(median(plain) * 1e3, 3),
            "between_tokens_p99_loading_ms": round(median(loads) * 1e3, 3),
            "first_token_of_a_load_median_ms": round(median(first_tokens(beside, streams)) * 1e3, 1),
            "loading_over_without": round(median(b / a for a, b in zip(plain, loads, strict=True)), 3),
        },
        bounds={"loading_over_without": 1.1},
    )


def items(station: Station, seed: int, adapters: Sequence[str], seconds: float) -> list[Item]:
    """The streams, then a request for one of `adapters` every tenth of a second for so long."""
    work = station.shape.workload("trace", RESIDENT)
    drawn = prompts(max(1, int(seconds * LOADS_A_SECOND)), PROMPT, seed + 1000, station.shape.vocab)
    first = (seed % 100 - 1) * len(drawn)  # where the round before ended, so that what it wants was given up by then
    asked = [
        Item(prompt, OUTPUT, adapters[(first + number) % len(adapters)], (number + 1) / LOADS_A_SECOND)
        for number, prompt in enumerate(drawn)
    ]
    return [*station.items(work, seed), *asked]


def late(streams: Sequence[Answer]) -> float:
    """99th percentile of the seconds between the streams' tokens while all of them decode."""
    begin = max(answer.times[0] for answer in streams)
    gaps = [
        after - before
        for answer in streams
        for before, after in zip(answer.times, answer.times[1:], strict=False)
        if before >= begin
    ]
    return percentile(gaps, 0.99)


def first_tokens(runs: Sequence[Recording], streams: int) -> list[float]:
    """Seconds, of the short requests."""
    return [answer.first_token for run in runs for answer in run.answers[streams:]]
