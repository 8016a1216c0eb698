"""Shrink, then expand: two launches a site, whatever adapters are in the step.

Decoding is bound by the adapters' bytes and by latency: programs are small, read one block of one adapter each, have it
on its way before they wait for the kernel before them, and let the next kernel start at once, to do the same. Prompts
are bound by x and delta: a program reads its tokens once for all modules of the site, and keeps what they shrank to
while it writes many columns.

Tables, A and B are read before the wait: what writes them must not be the kernel launched right before these.
"""

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait
from chorus_kernels.lora.values import SitePool, Tiles

FEW = 16  # tokens a tile, the smallest that fills a matrix instruction
CHUNK = tl.constexpr(16)  # rank rows a step of the loop over ranks


@triton.jit
def _tile(table, index):
    """Of a tile: first token, past the last, slot."""
    return tl.load(table + index * 3), tl.load(table + index * 3 + 1), tl.load(table + index * 3 + 2)


@triton.jit
def _rows(pages, adapter, r, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr):
    """The pool's rows that hold rank rows r of a (slot, module); past its rank anything."""
    page = tl.load(pages + adapter * PAGES + r // PAGE_ROWS, mask=r < PAGES * PAGE_ROWS, other=0)
    return page.to(tl.int64) * PAGE_ROWS + r % PAGE_ROWS


@triton.jit
def _a_slices(a, pages, adapter, r, rank, k, IN: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr):
    """A in slices of k. k: [slices, k of a slice]; the result is [slices, rank rows, k of a slice]."""
    row = _rows(pages, adapter, r, PAGES, PAGE_ROWS)
    mask = (r < rank)[None, :, None] & (k < IN)[:, None, :]
    return tl.load(a + row[None, :, None] * IN + k[:, None, :], mask=mask, other=0.0)


@triton.jit
def _shrink_chunk(x, out, weight, r, rank, first, past, k, IN: tl.constexpr, ROW: tl.constexpr, BLOCK_T: tl.constexpr):
    """weight: [slices, rank rows of r, k of a slice]; out: of the split and module."""
    if past - first == 1:  # without matrix instructions: A goes from registers into the sum, not through shared memory
        line = tl.load(x + first.to(tl.int64) * IN + k, mask=k < IN, other=0.0).to(tl.float32)[:, None, :]
        one = tl.sum(tl.sum(line * weight.to(tl.float32), axis=2), axis=0)
        tl.store(out + first * ROW + r, one, mask=r < rank)
    else:
        for block in range(first, past, BLOCK_T):
            t = block + tl.arange(0, BLOCK_T)
            mask = (t < past)[None, None, :] & (k < IN)[:, :, None]
            lines = tl.load(x + t.to(tl.int64)[None, None, :] * IN + k[:, :, None], mask=mask, other=0.0)
            v = tl.sum(tl.dot(weight, lines, input_precision="ieee"), axis=0)
            tl.store(out + t[None, :] * ROW + r[:, None], v, mask=(t < past)[None, :] & (r < rank)[:, None])


@triton.jit(do_not_specialize=["tokens"])
def _shrink_few(
    x, partials, a, ranks, pages, table, tokens, rows,
    IN: tl.constexpr, MODULES: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
    SLICES: tl.constexpr, SLICE: tl.constexpr, GROUPS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """partials[split, t, m] = x[t, split's k] @ A[m][:, split's k].T for each token t of a tile.

    Each warp takes a slice of k: an output of 16 × 8 cannot be shared out among warps. Chunks of a high rank are shared
    out among GROUPS programs.
    """
    trigger(PDL)
    split, module, tile = tl.program_id(0), tl.program_id(1) // GROUPS, tl.program_id(2)
    chunk = tl.program_id(1) % GROUPS * BLOCK_R
    first, past, slot = _tile(table, tile)
    adapter = tl.maximum(slot, 0) * MODULES + module
    rank = tl.load(ranks + adapter)
    rank = tl.where((slot >= 0) & (first < past), rank, 0)
    if (chunk >= rank) & (tile > 0):
        return  # without waiting: the first tile's programs wait for all
    a += module.to(tl.int64) * rows * IN
    k = split * SLICES * SLICE + tl.arange(0, SLICES)[:, None] * SLICE + tl.arange(0, SLICE)[None, :]
    r = chunk + tl.arange(0, BLOCK_R)
    weight = _a_slices(a, pages, adapter, r, rank, k, IN, PAGES, PAGE_ROWS)
    wait(PDL)
    out = partials + (split * tokens.to(tl.int64) * MODULES + module) * WIDTH
    ROW: tl.constexpr = MODULES * WIDTH
    if chunk < rank:
        _shrink_chunk(x, out, weight, r, rank, first, past, k, IN, ROW, BLOCK_T)
        if WIDTH > GROUPS * BLOCK_R:
            for start in range(chunk + GROUPS * BLOCK_R, rank, GROUPS * BLOCK_R):
                r = start + tl.arange(0, BLOCK_R)
                weight = _a_slices(a, pages, adapter, r, rank, k, IN, PAGES, PAGE_ROWS)
                _shrink_chunk(x, out, weight, r, rank, first, past, k, IN, ROW, BLOCK_T)


@triton.jit
def _place(block, OUTS: tl.constexpr, OFFSETS: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr):
    """Of a block of columns: its module, its first column there, the module's width and its starts in delta and B."""
    module, column, width, start, offset = 0, block * BLOCK_N, OUTS[0], 0, OFFSETS[0]
    blocks = 0
    columns = 0
    for m in tl.static_range(1, len(OUTS)):
        blocks += (OUTS[m - 1] + BLOCK_N - 1) // BLOCK_N
        columns += OUTS[m - 1]
        behind = block >= blocks
        module = tl.where(behind, m, module)
        column = tl.where(behind, (block - blocks) * BLOCK_N, column)
        width = tl.where(behind, OUTS[m], width)
        start = tl.where(behind, columns, start)
        offset = tl.where(behind, OFFSETS[m], offset)
    if len(OUTS) > 1:
        width = tl.multiple_of(width, ALIGN)
        start = tl.multiple_of(start, ALIGN)
        offset = tl.multiple_of(offset, ALIGN)
    return module, column, width, start, offset


@triton.jit
def _b_block(
    b, pages, adapter, r, rank, columns, width, BLOCK_R: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr
):
    row = _rows(pages, adapter, r, PAGES, PAGE_ROWS)
    mask = (r < rank)[:, None] & (columns < width)[None, :]
    return tl.load(b + row[:, None] * width + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _shrunk(partials, t, past, r, rank, tokens, MODULES: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr):
    """The sum of the splits. partials: of the module. [tokens of t, rank rows of r] float32."""
    at = partials + t[:, None] * MODULES * WIDTH + r[None, :]
    mask = (t < past)[:, None] & (r < rank)[None, :]
    v = tl.load(at, mask=mask, other=0.0)
    for split in tl.static_range(1, SPLITS):
        v += tl.load(at + split * tokens.to(tl.int64) * MODULES * WIDTH, mask=mask, other=0.0)
    return v


@triton.jit(do_not_specialize=["tokens"])
def _expand_few(
    partials, delta, b, ranks, pages, table, tokens,
    OUTS: tl.constexpr, OFFSETS: tl.constexpr, ALIGN: tl.constexpr, TOTAL: tl.constexpr, PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """delta[t, columns] = (sum over splits of partials[split, t, m]) @ B[m][:, columns] for each token t of a tile."""
    trigger(PDL)
    MODULES: tl.constexpr = len(OUTS)
    tile = tl.program_id(1)
    first, past, slot = _tile(table, tile)
    if (first >= past) & (tile > 0):
        return  # without waiting: the first tile's programs wait for all
    module, column, width, start, offset = _place(tl.program_id(0), OUTS, OFFSETS, BLOCK_N, ALIGN)
    adapter = tl.maximum(slot, 0) * MODULES + module
    rank = tl.load(ranks + adapter)
    rank = tl.where((slot >= 0) & (first < past), rank, 0)
    columns = column + tl.arange(0, BLOCK_N)
    r = tl.arange(0, BLOCK_R)
    b += offset
    weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
    wait(PDL)
    partials += module * WIDTH
    delta += start + columns
    if past - first == 1:
        t = first + tl.arange(0, 1)
        v = tl.sum(_shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS), axis=0)
        y = tl.sum(v[:, None] * weight.to(tl.float32), axis=0)
        if WIDTH > BLOCK_R:
            r += BLOCK_R
            weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
            v = tl.sum(_shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS), axis=0)
            for _ in range(BLOCK_R, rank, BLOCK_R):
                r += BLOCK_R  # the next chunk is on its way while this one is summed
                coming = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
                v_coming = tl.sum(_shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS), axis=0)
                y += tl.sum(v[:, None] * weight.to(tl.float32), axis=0)
                weight, v = coming, v_coming
        tl.store(delta + first.to(tl.int64) * TOTAL, y.to(delta.dtype.element_ty), mask=columns < width)
    else:
        for block in range(first, past, BLOCK_T):
            ts = block + tl.arange(0, BLOCK_T)
            vs = tl.trans(_shrunk(partials, ts, past, r, rank, tokens, MODULES, WIDTH, SPLITS))
            ys = tl.dot(tl.trans(weight), vs.to(weight.dtype), input_precision="ieee")
            if WIDTH > BLOCK_R:
                for chunk in range(BLOCK_R, rank, BLOCK_R):
                    rs = chunk + tl.arange(0, BLOCK_R)
                    further = _b_block(b, pages, adapter, rs, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
                    vs = tl.trans(_shrunk(partials, ts, past, rs, rank, tokens, MODULES, WIDTH, SPLITS))
                    ys = tl.dot(tl.trans(further), vs.to(weight.dtype), ys, input_precision="ieee")
            mask = (ts < past)[None, :] & (columns < width)[:, None]
            at = delta[:, None] + ts.to(tl.int64)[None, :] * TOTAL
            tl.store(at, ys.to(delta.dtype.element_ty), mask=mask)


@triton.jit
def _shrink_span(
    x, out, a, ranks, pages, first, past, slot, most, rows, split,
    IN: tl.constexpr, MODULES: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
    SPAN: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """All modules side by side, BLOCK_R of each one's rank rows at a time; out: of the split."""
    t = first + tl.arange(0, BLOCK_T)
    module = tl.arange(0, BLOCK_M * BLOCK_R) // BLOCK_R
    adapter = slot * MODULES + tl.minimum(module, MODULES - 1)
    rank = tl.load(ranks + adapter, mask=module < MODULES, other=0)
    lines = x + t.to(tl.int64)[:, None] * IN
    a += module.to(tl.int64) * rows * IN
    for chunk in range(0, most, BLOCK_R):
        r = chunk + tl.arange(0, BLOCK_M * BLOCK_R) % BLOCK_R
        at = a + _rows(pages, adapter, r, PAGES, PAGE_ROWS) * IN
        v = tl.zeros((BLOCK_T, BLOCK_M * BLOCK_R), tl.float32)
        for step in range(0, tl.minimum(SPAN, IN - split * SPAN), BLOCK_K):
            k = split * SPAN + step + tl.arange(0, BLOCK_K)
            line = tl.load(lines + k[None, :], mask=(t < past)[:, None] & (k < IN)[None, :], other=0.0)
            weight = tl.load(at[None, :] + k[:, None], mask=(r < rank)[None, :] & (k < IN)[:, None], other=0.0)
            v = tl.dot(line, weight, v, input_precision="ieee")
        mask = (t < past)[:, None] & (r < rank)[None, :]
        tl.store(out + t[:, None] * MODULES * WIDTH + (module * WIDTH + r)[None, :], v, mask=mask)


@triton.jit(do_not_specialize=["tokens"])
def _shrink_many(
    x, partials, a, ranks, pages, table, tokens, rows,
    IN: tl.constexpr, MODULES: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
    SPAN: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """As _shrink_few, all modules in one program: x is read once. Adapters of small ranks have small products."""
    trigger(PDL)
    split = tl.program_id(0)
    first, past, slot = _tile(table, tl.program_id(1))
    wait(PDL)
    if (slot >= 0) & (first < past):
        m = tl.arange(0, BLOCK_M)
        most = tl.max(tl.load(ranks + slot * MODULES + m, mask=m < MODULES, other=0))
        out = partials + split * tokens.to(tl.int64) * MODULES * WIDTH
        # fmt: off
        if most <= CHUNK:
            _shrink_span(x, out, a, ranks, pages, first, past, slot, most, rows, split, IN, MODULES, PAGES, PAGE_ROWS,
                         WIDTH, SPAN, BLOCK_T, CHUNK, BLOCK_M, BLOCK_K)
        elif WIDTH > CHUNK:
            _shrink_span(x, out, a, ranks, pages, first, past, slot, most, rows, split, IN, MODULES, PAGES, PAGE_ROWS,
                         WIDTH, SPAN, BLOCK_T, BLOCK_R, BLOCK_M, BLOCK_K)
        # fmt: on


@triton.jit
def _expand_columns(
    partials, delta, b, pages, adapter, rank, first, past, tokens, column, width,
    MODULES: tl.constexpr, TOTAL: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr,
    HIGHEST: tl.constexpr,
):  # fmt: skip
    """The tokens' first BLOCK_R shrunk values stay in registers for all columns. HIGHEST: rank that may come here."""
    t = first + tl.arange(0, BLOCK_T)
    r = tl.arange(0, BLOCK_R)
    v = _shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS).to(b.dtype.element_ty)
    at = delta + t.to(tl.int64)[:, None] * TOTAL
    for n in range(0, tl.minimum(BLOCK_N * BLOCKS, width - column), BLOCK_N):
        columns = column + n + tl.arange(0, BLOCK_N)
        weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
        y = tl.dot(v, weight, input_precision="ieee")
        if HIGHEST > BLOCK_R:
            for chunk in range(BLOCK_R, rank, BLOCK_R):
                further = _b_block(b, pages, adapter, chunk + r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
                u = _shrunk(partials, t, past, chunk + r, rank, tokens, MODULES, WIDTH, SPLITS)
                y = tl.dot(u.to(b.dtype.element_ty), further, y, input_precision="ieee")
        mask = (t < past)[:, None] & (columns < width)[None, :]
        tl.store(at + columns[None, :], y.to(delta.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tokens"])
def _expand_many(
    partials, delta, b, ranks, pages, table, tokens,
    OUTS: tl.constexpr, OFFSETS: tl.constexpr, ALIGN: tl.constexpr, TOTAL: tl.constexpr, PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """As _expand_few for many columns a program."""
    trigger(PDL)
    MODULES: tl.constexpr = len(OUTS)
    first, past, slot = _tile(table, tl.program_id(1))
    wait(PDL)
    if first < past:
        module, column, width, start, offset = _place(tl.program_id(0), OUTS, OFFSETS, BLOCK_N * BLOCKS, ALIGN)
        adapter = tl.maximum(slot, 0) * MODULES + module
        rank = tl.load(ranks + adapter, mask=slot >= 0, other=0)
        partials += module * WIDTH
        delta += start
        b += offset
        # fmt: off
        if rank <= CHUNK:
            _expand_columns(partials, delta, b, pages, adapter, rank, first, past, tokens, column, width, MODULES,
                            TOTAL, PAGES, PAGE_ROWS, WIDTH, SPLITS, BLOCK_T, CHUNK, BLOCK_N, BLOCKS, CHUNK)
        elif WIDTH > CHUNK:
            _expand_columns(partials, delta, b, pages, adapter, rank, first, past, tokens, column, width, MODULES,
                            TOTAL, PAGES, PAGE_ROWS, WIDTH, SPLITS, BLOCK_T, BLOCK_R, BLOCK_N, BLOCKS, WIDTH)
        # fmt: on


class Few(NamedTuple):
    """Launch shape for tiles of few tokens."""

    slices: int = 4  # of k a program, one a warp
    slice: int = 128  # k
    block_n: int = 512  # columns a program
    warps: int = 1  # of an expanding program
    stages: int = 1
    groups: int = 4  # programs that share a high rank


class Many(NamedTuple):
    """Launch shape for tiles of many tokens."""

    span: int = 2048  # k a program
    block_k: int = 128
    block_n: int = 128
    blocks: int = 4  # of columns a program
    stages: int = 3


def lora_delta(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int) -> Tensor:
    if tiles.tokens <= FEW:
        return few(x, pool, tiles, max_rank, _few_shape(x, len(tiles.table), max_rank))
    return many(x, pool, tiles, max_rank, _many_shape(x, len(tiles.table)))


def _few_shape(x: Tensor, tiles: int, max_rank: int) -> Few:
    if x.dtype is torch.float32:
        return Few(slice=64, block_n=128)
    if len(x) <= 32:
        return Few(block_n=512 if max_rank <= CHUNK.value else 256)
    if tiles > 64:
        return Few(slice=256, block_n=1024, warps=4)
    return Few(slices=2, slice=256, block_n=512 if max_rank <= CHUNK.value else 256)


def _many_shape(x: Tensor, tiles: int) -> Many:
    if x.dtype is torch.float32:
        return Many(span=512, block_k=16, block_n=32, blocks=16, stages=2)
    span = next(span for span in (2048, 1024, 512) if span == 512 or tiles * triton.cdiv(x.shape[1], span) >= 256)
    return Many(span=span)


def few(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int, shape: Few) -> Tensor:
    tokens, inner = x.shape
    modules, rows, _ = pool.a.shape
    total, align = _columns(pool.outs, pool.b_offsets)
    splits = triton.cdiv(inner, shape.slices * shape.slice)
    width = triton.cdiv(max_rank, CHUNK.value) * CHUNK.value
    partials = torch.empty((splits, tokens, modules, width), dtype=torch.float32, device=x.device)
    delta = x.new_empty((tokens, total))
    paging = {"PAGES": pool.pages.shape[2], "PAGE_ROWS": pool.page_rows, "WIDTH": width}
    shared = {"BLOCK_T": 8, "BLOCK_R": CHUNK.value, **paging, **options(x)}
    groups = min(shape.groups, width // CHUNK.value)
    _shrink_few[splits, modules * groups, len(tiles.table)](
        x, partials, pool.a, pool.ranks, pool.pages, tiles.table, tokens, rows,
        IN=inner, MODULES=modules, SLICES=shape.slices, SLICE=shape.slice, GROUPS=groups,
        num_warps=shape.slices, num_stages=1, **shared,
    )  # fmt: skip
    _expand_few[sum(triton.cdiv(out, shape.block_n) for out in pool.outs), len(tiles.table)](
        partials, delta, pool.b, pool.ranks, pool.pages, tiles.table, tokens,
        OUTS=pool.outs, OFFSETS=pool.b_offsets, ALIGN=align, TOTAL=total, SPLITS=splits, BLOCK_N=shape.block_n,
        num_warps=shape.warps, num_stages=shape.stages, **shared,
    )  # fmt: skip
    return delta


def many(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int, shape: Many) -> Tensor:
    tokens, inner = x.shape
    modules, rows, _ = pool.a.shape
    total, align = _columns(pool.outs, pool.b_offsets)
    splits = triton.cdiv(inner, shape.span)
    width = triton.cdiv(max_rank, CHUNK.value) * CHUNK.value
    block_m = triton.next_power_of_2(modules)
    # All modules' accumulators must fit into registers; float32 products take more of them.
    widest = CHUNK.value if x.dtype is torch.float32 else max(CHUNK.value, min(64, 128 // block_m))
    partials = torch.empty((splits, tokens, modules, width), dtype=torch.float32, device=x.device)
    delta = x.new_empty((tokens, total))
    paging = {"PAGES": pool.pages.shape[2], "PAGE_ROWS": pool.page_rows, "WIDTH": width}
    shared = {"BLOCK_T": tiles.tokens, "BLOCK_R": min(triton.next_power_of_2(width), widest), **paging, **options(x)}
    warps = 4 if tiles.tokens <= 64 else 8
    _shrink_many[splits, len(tiles.table)](
        x, partials, pool.a, pool.ranks, pool.pages, tiles.table, tokens, rows,
        IN=inner, MODULES=modules, SPAN=shape.span, BLOCK_M=block_m, BLOCK_K=shape.block_k,
        num_warps=warps, num_stages=shape.stages, **shared,
    )  # fmt: skip
    _expand_many[sum(triton.cdiv(out, shape.block_n * shape.blocks) for out in pool.outs), len(tiles.table)](
        partials, delta, pool.b, pool.ranks, pool.pages, tiles.table, tokens,
        OUTS=pool.outs, OFFSETS=pool.b_offsets, ALIGN=align, TOTAL=total, SPLITS=splits, BLOCK_N=shape.block_n,
        BLOCKS=shape.blocks, num_warps=warps, num_stages=2, **shared,
    )  # fmt: skip
    return delta


@cache
def _columns(outs: tuple[int, ...], offsets: tuple[int, ...]) -> tuple[int, int]:
    """Of delta: its columns, and the power of two up to 16 that divides all of a site's widths and starts."""
    align = next(n for n in (16, 8, 4, 2, 1) if all(value % n == 0 for value in (*outs, *offsets)))
    return sum(outs), align
