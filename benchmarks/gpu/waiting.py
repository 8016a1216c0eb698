"""Rows about what a caller waits for: the first token, and the one after the other."""

from statistics import median

from benchmarks.gpu.recording import percentile
from benchmarks.gpu.row import Row
from benchmarks.gpu.station import Station
from benchmarks.workloads import Item, poisson, prompts

POISSON_SECONDS = 16.0
POISSON_LOAD = 0.7  # of saturation


async def poisson_arrivals(station: Station) -> Row:
    """Requests at 70% of the rate at which the engine works off as many as it can take, measured just before.

    The first quarter of the arrivals, while the engine fills, is left out of the figures.
    """
    work = station.shape.workload("saturate")
    full = await station.play(station.items(work, 1))
    rate = POISSON_LOAD * work.requests / full.seconds
    seconds = POISSON_SECONDS if station.setting.device == "cuda" else 1.0
    run = await station.play(poisson(work, rate, seconds, 2, station.shape.vocab))
    steady = run.answers[len(run.answers) // 4 :]
    gaps = [gap for answer in steady for gap in answer.gaps()]
    middle, late = median(gaps), percentile(gaps, 0.99)
    return Row(
        workload="poisson",
        adapters=0,
        output_tokens_per_s=round(run.output_tokens / run.seconds, 1),
        prompt_tokens_per_s=round(run.prompt_tokens / run.seconds, 1),
        step_ms=round(middle * 1e3, 3),
        seconds=(round(run.seconds, 3),),
        measured={
            "saturation_requests_per_s": round(work.requests / full.seconds, 2),
            "requests": len(run.answers),
            "between_tokens_median_ms": round(middle * 1e3, 2),
            "between_tokens_p99_ms": round(late * 1e3, 2),
            "p99_over_median": round(late / middle, 2),
            "first_token_median_ms": round(median(answer.first_token for answer in steady) * 1e3, 1),
            "first_token_p99_ms": round(percentile([answer.first_token for answer in steady], 0.99) * 1e3, 1),
        },
        bounds={"p99_over_median": 3.0, "first_token_median_ms": 200.0},
    )


async def prefix(station: Station) -> Row:
    """A long prompt that two requests share, each with eight tokens of its own behind it; one after the other."""
    work = station.shape.workload("prefix")
    first, second, cached = [], [], []
    for seed in range(1, 1 + (station.setting.repeats or 3)):
        (shared,) = prompts(1, work.prompt, seed, station.shape.vocab)
        tails = prompts(2, 8, seed + 1000, station.shape.vocab)
        readers = [(await station.play([Item(shared + tail, work.output, None)])).answers[0] for tail in tails]
        first.append(readers[0].first_token)
        second.append(readers[1].first_token)
        cached.append(readers[1].cached)
    short = await station.play([Item(tails[0], work.output, None)])
    return Row(
        workload="prefix",
        adapters=0,
        measured={
            "shared_tokens": work.prompt,
            "cached_tokens": min(cached),
            "first_reader_ms": round(median(first) * 1e3, 2),
            "second_reader_ms": round(median(second) * 1e3, 2),
            "eight_tokens_alone_ms": round(short.answers[0].first_token * 1e3, 2),
        },
    )
