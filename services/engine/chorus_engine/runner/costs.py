"""What a preempted request costs, by swapping and by computing again: measured, since it depends on the machine."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from chorus_engine.core.plan import RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.network import Network

MOST_TOKENS = 2048  # of the prompt that is timed
SWAPPED_BLOCKS = 8
REPEATS = 3


def measured(capacity: Capacity, network: Network, cache: KvCache, row: int, device: torch.device) -> Capacity:
    """The capacity with its costs, in seconds. row: one whose blocks nobody reads."""
    tokens = min(MOST_TOKENS, capacity.max_num_batched_tokens, capacity.max_model_len)
    recompute = _fastest(lambda: network.run((RowStep(row, 0, tokens, (), False),)), device) / tokens
    blocks = min(SWAPPED_BLOCKS, capacity.swap_blocks)
    pairs = [(cache.null_block, host) for host in range(blocks)]
    swap = _fastest(lambda: cache.swap_out(pairs), device) / blocks if blocks else 0.0
    return replace(capacity, swap_seconds=swap, recompute_seconds=recompute)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
