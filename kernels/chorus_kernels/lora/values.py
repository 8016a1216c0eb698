from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class SitePool:
    """One site of one layer on the device: modules that read the same input and write side by side into one output.

    Rank rows are handed out in pages, in any order; only an adapter's true rank rows are ever read. The adapter's scale
    is folded into B.
    """

    a: Tensor  # [modules, rows, in]
    b: Tensor  # flat; row r of module m starts at b_offsets[m] + r * outs[m]
    b_offsets: tuple[int, ...]
    outs: tuple[int, ...]
    ranks: Tensor  # [slots, modules] int32 on the device, true ranks, 0 where an adapter lacks the module
    pages: Tensor  # [slots, modules, pages] int32 on the device, page numbers in order of rank rows
    page_rows: int = 8


@dataclass(frozen=True, slots=True)
class Tiles:
    """A step's tokens in runs of one adapter each, shared by all layers. Every token is in exactly one tile.

    The table's length fixes the launch grids, so that a captured graph serves every table of that length.
    """

    table: Tensor  # [tiles, 3] int32 on the device: first token, past the last, slot (-1: base); empty ones are padding
    tokens: int  # the most that a tile holds: 16 in steps of few tokens a row, 64 or 128 in prompts
