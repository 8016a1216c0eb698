"""What a row costs beside another one that may have run on another engine, worked out when both are known."""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.gpu.floors import Limits, Sizes
from benchmarks.gpu.row import Row

MOST_LOST = 0.01  # with LoRA enabled and no adapter in the batch

Find = Callable[[str, int], Row | None]  # by workload and adapters


def lora_idle(row: Row, find: Find) -> Row:
    """What being able to serve adapters costs a batch that has none."""
    base = find("batch32", 0)
    if base is None or base.rate is None or row.rate is None:
        return row
    lost = {"lora_off_tokens_per_s": base.rate, "lost_share": round(1 - row.rate / base.rate, 4)}
    return replace(row, measured={**row.measured, **lost}, bounds={"lost_share": MOST_LOST})


def ranks_mixed(row: Row, find: Find, sizes: Sizes, limits: Limits) -> Row:
    """Milliseconds that the adapters add to a step, over those that their bytes take; the bound is rank 16's own."""
    base, uniform = find("batch32", 0), find("batch32", row.adapters)
    if base is None or uniform is None:
        return row
    ranks = row.measured["ranks"]
    mean = sum(ranks) / len(ranks)
    cost, bytes_ms = _cost(row, base), _bytes_ms(row.adapters, mean, sizes, limits)
    usual = _cost(uniform, base) / _bytes_ms(row.adapters, 16, sizes, limits)
    added = {
        "added_ms": round(cost, 3),
        "bytes_ms": round(bytes_ms, 3),
        "cost_over_bytes": round(cost / bytes_ms, 3),
        "cost_over_bytes_at_rank_16": round(usual, 3),
    }
    return replace(row, measured={**row.measured, **added}, bounds={"cost_over_bytes": round(usual, 3)})


def _cost(row: Row, base: Row) -> float:
    return (row.step_ms or 0.0) - (base.step_ms or 0.0)


def _bytes_ms(adapters: int, rank: float, sizes: Sizes, limits: Limits) -> float:
    return adapters * sizes.adapter_bytes(rank) / limits.copy_bytes_per_s * 1e3
