from collections.abc import Sequence

from torch import Tensor

from chorus_kernels.lora.reference import Part, pool_rows
from chorus_kernels.lora.values import SitePool, Tiles


def embed(x: Tensor, ids: Tensor, parts: Sequence[Part]) -> None:
    for part in parts:
        shrunk = part.a.index_select(1, ids[part.tokens])  # [rank, tokens of the part]
        x[part.tokens].addmm_(shrunk.T, part.b)


def embed_tiles(x: Tensor, ids: Tensor, pool: SitePool, tiles: Tiles, max_rank: int) -> None:
    assert int(pool.ranks.max()) <= max_rank
    a, b = pool.a[0], pool.b.view(-1, pool.outs[0])
    for first, past, slot in tiles.table.tolist():
        if slot >= 0 and first < past:
            rows = pool_rows(pool, slot, 0)
            embed(x, ids, [Part(slice(first, past), a[rows], b[rows])])
