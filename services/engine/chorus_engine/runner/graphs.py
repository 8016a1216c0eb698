"""CUDA graphs of decode steps: a bounded set of sizes, each captured once."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)
TILE_BUCKETS = (8, 32, 128)  # adapter tiles; a graph launches for all, and those not in use cost a little


@dataclass(frozen=True, slots=True, order=True)
class GraphSize:
    rows: int
    tiles: int  # 0: no row has an adapter


@dataclass(frozen=True, slots=True)
class Captured:
    graph: torch.cuda.CUDAGraph
    output: Tensor  # [rows, hidden], overwritten by every replay


class GraphSizes:
    """Which sizes there are, and the smallest that holds a step."""

    def __init__(self, max_rows: int, *, lora: bool) -> None:
        self._rows = [rows for rows in ROW_BUCKETS if rows < max_rows]
        self._rows += [max_rows] if max_rows <= ROW_BUCKETS[-1] else []
        self._lora = lora

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(self._rows)

    def all(self) -> list[GraphSize]:
        """Largest first, so that the smaller ones find room in the memory of the larger."""
        sizes = [GraphSize(rows, 0) for rows in self._rows]
        if self._lora:
            sizes += [GraphSize(rows, tiles) for rows in self._rows for tiles in _tile_buckets(rows)]
        return sorted(sizes, reverse=True)

    def holding(self, rows: int, tiles: int) -> GraphSize | None:
        """None where the step has more rows than any graph."""
        place = bisect_left(self._rows, rows)
        if place == len(self._rows):
            return None
        bucket = self._rows[place]
        return GraphSize(bucket, _smallest(_tile_buckets(bucket), tiles) if tiles else 0)


def _tile_buckets(rows: int) -> list[int]:
    """Up to one tile a row."""
    return [*(tiles for tiles in TILE_BUCKETS if tiles < rows), rows]


def _smallest(buckets: list[int], count: int) -> int:
    return buckets[bisect_left(buckets, count)]


class DecodeGraphs:
    """Decode steps on tensors with fixed addresses: replayed where captured, else launched."""

    def __init__(self, launch: Callable[[GraphSize], Tensor]) -> None:
        """launch: the kernels of a decode step of a size; the result is [rows, hidden]."""
        self._launch = launch
        self._captured: dict[GraphSize, Captured] = {}

    def capture(self, sizes: Sequence[GraphSize]) -> None:
        """All share one memory, so they must run one after the other."""
        memory = torch.cuda.graph_pool_handle()
        for size in sizes:
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
