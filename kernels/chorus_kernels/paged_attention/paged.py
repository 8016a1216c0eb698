from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROGRAMS = 264  # 2 on each of an H200's multiprocessors: more split, and wait for each other, in vain
MOST_SPLITS = 64


@dataclass(frozen=True, slots=True)
class PagedBatch:
    """Who attends to what in one step, as a GPU reads it: a captured graph replays with what the tensors then hold.

    All tensors are int32 and on the device. Sequences of one token come first, and token i is theirs, i being the
    sequence. Cache slots past a context may hold anything, NaN too.
    """

    rows: Tensor  # [sequences], each one's row of block_tables
    starts: Tensor  # [sequences], each one's first token
    counts: Tensor  # [sequences], tokens of each in this step
    contexts: Tensor  # [sequences], tokens of each in the cache, those of this step included; 0 is padding
    block_tables: Tensor  # [rows, blocks], read no further than the context
    arrivals: Tensor  # from `new_arrivals`; one is enough for all that runs on a stream
    block_size: int  # a power of two
    singles: int  # sequences of one token
    window: int | None = None  # a query sees itself and the window - 1 tokens before it; None sees all
    tiles: Tensor | None = None  # [tiles, 2]: sequence and its first query; those of sequence -1 are padding
    tile_queries: int = 0  # queries of a tile


def splits(sequences: int, kv_heads: int) -> int:
    """Parts of each long context, every one a program: a captured graph knows their number, whatever the contexts."""
    return max(1, min(MOST_SPLITS, PROGRAMS // (sequences * kv_heads)))


def new_arrivals(device: torch.device) -> Tensor:
    """A count for each context and key-value head that is split: of parts that are ready; zero between launches."""
    return torch.zeros(PROGRAMS // 2, dtype=torch.int32, device=device)


def tile_lines(dtype: torch.dtype) -> int:
    """Lines of a prompt tile's product, a line being one query of one head."""
    return 32 if dtype == torch.float32 else 128


def tile_queries(dtype: torch.dtype, group: int) -> int:
    """Queries of a tile that fills the product with all `group` heads that share keys and values."""
    return max(tile_lines(dtype) // group, 1)


def tile_table(counts: Sequence[int], contexts: Sequence[int], singles: int, tile_queries: int) -> Tensor:
    """Tiles [tiles, 2] int32, on the CPU, of the sequences behind the first `singles`; those of most keys first."""
    tiles = [
        (sequence, first)
        for sequence in range(singles, len(counts))
        for first in range(0, counts[sequence], tile_queries)
    ]
    tiles.sort(key=lambda tile: counts[tile[0]] - contexts[tile[0]] - tile[1])
    return torch.tensor(tiles, dtype=torch.int32).view(-1, 2)
