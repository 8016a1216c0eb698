import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait
from chorus_kernels.lora.values import SitePool, Tiles

BLOCK_R = 16  # rank rows a step of the loop over ranks
BLOCK_N = 128  # columns a program


def embed_tiles(x: Tensor, ids: Tensor, pool: SitePool, tiles: Tiles) -> None:
    hidden = x.shape[1]
    _embed_tiles[(triton.cdiv(hidden, BLOCK_N), len(tiles.table))](
        x, ids, pool.a, pool.b, pool.ranks, pool.pages, tiles.table,
        VOCAB=pool.a.shape[2], HIDDEN=hidden, PAGES=pool.pages.shape[2], PAGE_ROWS=pool.page_rows,
        BLOCK_T=16, BLOCK_R=BLOCK_R, BLOCK_N=BLOCK_N, num_warps=4, **options(x),
    )  # fmt: skip


@triton.jit
def _embed_tiles(
    x, ids, a, b, ranks, pages, table,
    VOCAB: tl.constexpr, HIDDEN: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """x[t, columns] += A[:, ids[t]] @ B[:, columns] for each token t of a tile.

    A row of A is as long as the vocabulary, so each value is fetched by itself: few bytes beside a prompt's products.
    """
    wait(PDL)
    tile = table + tl.program_id(1) * 3
    first, past, slot = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    rank = tl.load(ranks + slot, mask=slot >= 0, other=0)
    pages += slot * PAGES
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    if rank > 0:
        for block in range(first, past, BLOCK_T):
            t = block + tl.arange(0, BLOCK_T)
            token = tl.load(ids + t, mask=t < past, other=0)
            y = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
            for chunk in range(0, rank, BLOCK_R):
                r = chunk + tl.arange(0, BLOCK_R)
                page = tl.load(pages + r // PAGE_ROWS, mask=r < rank, other=0).to(tl.int64)
                row = page * PAGE_ROWS + r % PAGE_ROWS
                inside = (t < past)[:, None] & (r < rank)[None, :]
                v = tl.load(a + row[None, :] * VOCAB + token[:, None], mask=inside, other=0.0)
                weight_mask = (r < rank)[:, None] & (columns < HIDDEN)[None, :]
                weight = tl.load(b + row[:, None] * HIDDEN + columns[None, :], mask=weight_mask, other=0.0)
                y = tl.dot(v, weight, y, input_precision="ieee")
            at = x + t.to(tl.int64)[:, None] * HIDDEN + columns[None, :]
            mask = (t < past)[:, None] & (columns < HIDDEN)[None, :]
            known = tl.load(at, mask=mask, other=0.0).to(tl.float32)
            tl.store(at, (known + y).to(x.dtype.element_ty), mask=mask)
    trigger(PDL)
