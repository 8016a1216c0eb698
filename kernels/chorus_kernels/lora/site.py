from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, stop) of a step use the adapter in `slot`. Tokens in no segment are the base model's."""

    start: int
    stop: int
    slot: int


def merge(modules: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """An adapter's A [rank, in] and B [rank, out] of modules that read the same input, copied into one of each.

    B is block-diagonal: a module's rank rows are zero in the columns of the others. A module that the adapter lacks has
    rank 0.
    """
    if len(modules) == 1:
        a, b = modules[0]
        return a.clone(), b.clone()
    shrink = torch.cat([a for a, _ in modules])
    expand = shrink.new_zeros(len(shrink), sum(b.shape[1] for _, b in modules))
    row, column = 0, 0
    for _, b in modules:
        expand[row : row + len(b), column : column + b.shape[1]] = b
        row, column = row + len(b), column + b.shape[1]
    return shrink, expand
