"""CUDA graphs of steps: a bounded set of sizes, each captured once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.runner.graph_sizes import GraphSize


@dataclass(frozen=True, slots=True)
class Captured:
    graph: torch.cuda.CUDAGraph
    output: Tensor  # [tokens, hidden], overwritten by every replay


class StepGraphs:
    """Steps on tensors with fixed addresses: replayed where captured, else launched."""

    def __init__(self, launch: Callable[[GraphSize], Tensor]) -> None:
        """launch: the kernels of a step of a size; the result is [tokens, hidden]."""
        self._launch = launch
        self._captured: dict[GraphSize, Captured] = {}

    def capture(self, sizes: Iterable[GraphSize]) -> None:
        """All share one memory, so they must run one after the other; the smaller find room in that of the larger."""
        memory = torch.cuda.graph_pool_handle()
        for size in sorted(sizes, reverse=True):
            self._launch(size)  # compiles kernels and lets libraries set themselves up, which a capture must not meet
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=memory):
                output = self._launch(size)
            self._captured[size] = Captured(graph, output)

    def run(self, size: GraphSize) -> Tensor:
        """The result is good until the next run."""
        if (captured := self._captured.get(size)) is None:
            return self._launch(size)
        captured.graph.replay()
        return captured.output
