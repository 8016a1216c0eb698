"""The card's limits, measured where and when the figures that are held against them are."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.floors import Limits


def measure_limits(device: torch.device) -> Limits:
    """On CPU, sizes that take no time: the figures only keep the arithmetic going."""
    large = device.type == "cuda"
    return Limits(_copy(device, large), _stream(device, large), _product(device, large))


def seconds(call: Callable[[], object], device: torch.device, repeats: int = 20) -> float:
    """Median time of a call whose work is on the device."""
    if device.type != "cuda":
        call()
        return median(_wall(call) for _ in range(3))
    for _ in range(3):
        call()
    event: Any = partial(torch.cuda.Event, enable_timing=True)  # torch leaves it untyped
    events = [(event(), event()) for _ in range(repeats)]
    for start, stop in events:
        start.record()
        call()
        stop.record()
    torch.cuda.synchronize(device)
    return float(median(start.elapsed_time(stop) for start, stop in events)) / 1e3


def _wall(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _copy(device: torch.device, large: bool) -> float:
    size = 2**31 if large else 2**20  # bytes
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), device)


def _stream(device: torch.device, large: bool) -> float:
    """A weight of 940 MB, gate and up of four layers: far beyond the cache."""
    rows, columns = (114_688, 4096) if large else (512, 64)
    weight = torch.randn(rows, columns, device=device, dtype=torch.bfloat16)
    x = torch.randn(columns, device=device, dtype=torch.bfloat16)
    return 2 * rows * columns / seconds(lambda: weight @ x, device)


def _product(device: torch.device, large: bool) -> float:
    size = 4096 if large else 64
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, device)
