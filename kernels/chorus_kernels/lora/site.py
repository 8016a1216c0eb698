from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, stop) of a step use the adapter in `slot`. Tokens in no segment are the base model's."""

    start: int
    stop: int
    slot: int


@dataclass(frozen=True, slots=True)
class Site:
    """One product of one layer: modules that read the same input and write side by side into one output.

    A pool's rank rows are handed out in pages; the tables say which pages hold an adapter's rows of each module. The
    adapter's scale is folded into B.
    """

    a: tuple[Tensor, ...]  # [rows, in] each module
    b: tuple[Tensor, ...]  # [rows, out of the module] each module
    ranks: Tensor  # [slots, modules] int32 on the host, true ranks, 0 where an adapter lacks the module
    pages: Tensor  # [slots, modules, pages] int32 on the host, page numbers in order of rank rows
    page_rows: int

    def rows(self, slot: int, module: int) -> Tensor:
        """The pool's rows that hold an adapter's ranks of one module: [rank] int64."""
        rank = int(self.ranks[slot, module])
        pages = self.pages[slot, module, : -(-rank // self.page_rows)].tolist()
        # In Python: so few numbers are there before torch has begun.
        rows = [page * self.page_rows + row for page in pages for row in range(self.page_rows)]
        return torch.tensor(rows[:rank], dtype=torch.int64, device=self.a[module].device)

    def gather(self, slot: int) -> tuple[Tensor, Tensor]:
        """An adapter's whole site out of its pages: A [rank, in] and B [rank, out], modules one after the other.

        B is block-diagonal: a module's rank rows are zero in the columns of the others.
        """
        rows = [self.rows(slot, module) for module in range(len(self.a))]
        shrink = torch.cat([a.index_select(0, r) for a, r in zip(self.a, rows, strict=True)])
        expand = shrink.new_zeros(len(shrink), sum(b.shape[1] for b in self.b))
        rank, column = 0, 0
        for b, r in zip(self.b, rows, strict=True):
            expand[rank : rank + len(r), column : column + b.shape[1]] = b.index_select(0, r)
            rank, column = rank + len(r), column + b.shape[1]
        return shrink, expand
