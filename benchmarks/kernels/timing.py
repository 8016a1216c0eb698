"""Seconds of a call, as a captured graph plays it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.gpu.limits import seconds

REPLAYS = 20


def seconds_a_call(calls: Sequence[Callable[[], object]], device: torch.device) -> float:
    """Median over replays of one graph that makes all calls; on CPU, over plain rounds of them."""
    if device.type != "cuda":
        began = time.perf_counter()
        for call in calls:
            call()
        return (time.perf_counter() - began) / len(calls)
    play = capture(calls)
    return seconds(play, device, REPLAYS) / len(calls)


def capture(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """After a round outside of it, in which kernels are compiled and libraries set up."""
    side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay
