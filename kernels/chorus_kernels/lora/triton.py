"""Shrink, then expand: two launches a site, whatever adapters are in the step.

Decoding is bound by the adapters' bytes and by latency: A and B are on their way before the kernel waits for the one
before it, all programs are small, and each reads one block of one adapter. Prompts are bound by x and delta: a program
reads its tokens once for all modules of the site, and keeps what they shrank to while it writes many columns.
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
def _rows(pages, adapter, r, rank, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr):
    """The pool's rows that hold rank rows r of a (slot, module)."""
    page = tl.load(pages + adapter * PAGES + r // PAGE_ROWS, mask=r < rank, other=0)
    return page.to(tl.int64) * PAGE_ROWS + r % PAGE_ROWS


@triton.jit
def _a_slices(a, pages, adapter, r, rank, k, IN: tl.constexpr, PAGES: tl.constexpr, PAGE_ROWS: tl.constexpr):
    """A.T in slices of k. k: [slices, k of a slice]; the result is [slices, k of a slice, rank rows]."""
    row = _rows(pages, adapter, r, rank, PAGES, PAGE_ROWS)
    mask = (r < rank)[None, None, :] & (k < IN)[:, :, None]
    return tl.load(a + row[None, None, :] * IN + k[:, :, None], mask=mask, other=0.0)


@triton.jit(do_not_specialize=["tokens"])
def _shrink_few(
    x,
    partials,
    a,
    ranks,
    pages,
    table,
    tokens,
    rows,
    IN: tl.constexpr,
    MODULES: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SLICES: tl.constexpr,
    SLICE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    ONE: tl.constexpr,
    EARLY: tl.constexpr,
    PDL: tl.constexpr,
):
    """partials[split, t, m] = x[t, split's k] @ A[m][:, split's k].T for each token t of a tile.

    Each warp takes a slice of k: an output of 16 × 16 cannot be shared out among warps.
    """
    split, module = tl.program_id(0), tl.program_id(1)
    first, past, slot = _tile(table, tl.program_id(2))
    adapter = slot * MODULES + module
    rank = tl.load(ranks + adapter, mask=(slot >= 0) & (first < past), other=0)
    a += module.to(tl.int64) * rows * IN
    k = split * SLICES * SLICE + tl.arange(0, SLICES)[:, None] * SLICE + tl.arange(0, SLICE)[None, :]
    r = tl.arange(0, BLOCK_R)
    weight = _a_slices(a, pages, adapter, r, rank, k, IN, PAGES, PAGE_ROWS)
    if EARLY:
        trigger(PDL)
    wait(PDL)
    out = partials + (split * tokens.to(tl.int64) * MODULES + module) * WIDTH
    if rank > 0:
        if ONE and past - first == 1:
            line = tl.load(x + first.to(tl.int64) * IN + k, mask=k < IN, other=0.0).to(tl.float32)
            one = tl.sum(tl.sum(line[:, :, None] * weight.to(tl.float32), axis=1), axis=0)
            tl.store(out + first * MODULES * WIDTH + r, one, mask=r < rank)
            for start in range(BLOCK_R, rank if WIDTH > BLOCK_R else BLOCK_R, BLOCK_R):
                weight = _a_slices(a, pages, adapter, start + r, rank, k, IN, PAGES, PAGE_ROWS)
                one = tl.sum(tl.sum(line[:, :, None] * weight.to(tl.float32), axis=1), axis=0)
                tl.store(out + first * MODULES * WIDTH + start + r, one, mask=start + r < rank)
        else:
            t = first + tl.arange(0, BLOCK_T)
            mask = (t < past)[None, :, None] & (k < IN)[:, None, :]
            lines = tl.load(x + t.to(tl.int64)[None, :, None] * IN + k[:, None, :], mask=mask, other=0.0)
            at = out + t[:, None] * MODULES * WIDTH + r[None, :]
            v = tl.sum(tl.dot(lines, weight, input_precision="ieee"), axis=0)
            tl.store(at, v, mask=(t < past)[:, None] & (r < rank)[None, :])
            for start in range(BLOCK_R, rank if WIDTH > BLOCK_R else BLOCK_R, BLOCK_R):
                weight = _a_slices(a, pages, adapter, start + r, rank, k, IN, PAGES, PAGE_ROWS)
                v = tl.sum(tl.dot(lines, weight, input_precision="ieee"), axis=0)
                tl.store(at + start, v, mask=(t < past)[:, None] & (start + r < rank)[None, :])
    if not EARLY:
        trigger(PDL)


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
    row = _rows(pages, adapter, r, rank, PAGES, PAGE_ROWS)
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
    partials,
    delta,
    b,
    ranks,
    pages,
    table,
    tokens,
    OUTS: tl.constexpr,
    OFFSETS: tl.constexpr,
    ALIGN: tl.constexpr,
    TOTAL: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ONE: tl.constexpr,
    EARLY: tl.constexpr,
    PDL: tl.constexpr,
):
    """delta[t, columns] = (sum over splits of partials[split, t, m]) @ B[m][:, columns] for each token t of a tile."""
    MODULES: tl.constexpr = len(OUTS)
    first, past, slot = _tile(table, tl.program_id(1))
    module, column, width, start, offset = _place(tl.program_id(0), OUTS, OFFSETS, BLOCK_N, ALIGN)
    adapter = slot * MODULES + module
    rank = tl.load(ranks + adapter, mask=(slot >= 0) & (first < past), other=0)
    columns = column + tl.arange(0, BLOCK_N)
    r = tl.arange(0, BLOCK_R)
    b += offset
    weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
    if EARLY:
        trigger(PDL)
    wait(PDL)
    partials += module * WIDTH
    delta += start + columns
    if ONE and past - first == 1:
        t = first + tl.arange(0, 1)
        v = tl.sum(_shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS), axis=0)
        one = tl.sum(v[:, None] * weight.to(tl.float32), axis=0)
        for chunk in range(BLOCK_R, rank if WIDTH > BLOCK_R else BLOCK_R, BLOCK_R):
            weight = _b_block(b, pages, adapter, chunk + r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
            v = tl.sum(_shrunk(partials, t, past, chunk + r, rank, tokens, MODULES, WIDTH, SPLITS), axis=0)
            one += tl.sum(v[:, None] * weight.to(tl.float32), axis=0)
        tl.store(delta + first.to(tl.int64) * TOTAL, one.to(delta.dtype.element_ty), mask=columns < width)
    elif first < past:
        t = first + tl.arange(0, BLOCK_T)
        v = _shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS)
        y = tl.dot(v.to(weight.dtype), weight, input_precision="ieee")
        for chunk in range(BLOCK_R, rank if WIDTH > BLOCK_R else BLOCK_R, BLOCK_R):
            weight = _b_block(b, pages, adapter, chunk + r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
            v = _shrunk(partials, t, past, chunk + r, rank, tokens, MODULES, WIDTH, SPLITS)
            y = tl.dot(v.to(weight.dtype), weight, y, input_precision="ieee")
        mask = (t < past)[:, None] & (columns < width)[None, :]
        at = delta[None, :] + t.to(tl.int64)[:, None] * TOTAL
        tl.store(at, y.to(delta.dtype.element_ty), mask=mask)
    if not EARLY:
        trigger(PDL)


@triton.jit
def _shrink_chunks(
    x,
    out,
    a,
    ranks,
    pages,
    first,
    past,
    slot,
    most,
    rows,
    split,
    IN: tl.constexpr,
    MODULES: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPAN: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """All modules side by side, BLOCK_R of each one's rank rows at a time."""
    t = first + tl.arange(0, BLOCK_T)
    module = tl.arange(0, BLOCK_M * BLOCK_R) // BLOCK_R
    adapter = slot * MODULES + module
    rank = tl.load(ranks + adapter, mask=module < MODULES, other=0)
    lines = x + t.to(tl.int64)[:, None] * IN
    a += module.to(tl.int64) * rows * IN
    for chunk in range(0, most, BLOCK_R):
        r = chunk + tl.arange(0, BLOCK_M * BLOCK_R) % BLOCK_R
        at = a + _rows(pages, adapter, r, rank, PAGES, PAGE_ROWS) * IN
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
    x,
    partials,
    a,
    ranks,
    pages,
    table,
    tokens,
    rows,
    IN: tl.constexpr,
    MODULES: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPAN: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):
    """As _shrink_few, all modules in one program: x is read once. Adapters of small ranks have small products."""
    wait(PDL)
    split = tl.program_id(0)
    first, past, slot = _tile(table, tl.program_id(1))
    if (slot >= 0) & (first < past):
        m = tl.arange(0, BLOCK_M)
        most = tl.max(tl.load(ranks + slot * MODULES + m, mask=m < MODULES, other=0))
        out = partials + split * tokens.to(tl.int64) * MODULES * WIDTH
        # fmt: off
        if most <= CHUNK:
            _shrink_chunks(x, out, a, ranks, pages, first, past, slot, most, rows, split, IN, MODULES, PAGES, PAGE_ROWS,
                           WIDTH, SPAN, BLOCK_T, CHUNK, BLOCK_M, BLOCK_K)
        elif WIDTH > CHUNK:
            _shrink_chunks(x, out, a, ranks, pages, first, past, slot, most, rows, split, IN, MODULES, PAGES, PAGE_ROWS,
                           WIDTH, SPAN, BLOCK_T, BLOCK_R, BLOCK_M, BLOCK_K)
        # fmt: on
    trigger(PDL)


@triton.jit
def _expand_chunk(
    partials,
    delta,
    b,
    pages,
    adapter,
    rank,
    first,
    past,
    tokens,
    column,
    width,
    MODULES: tl.constexpr,
    TOTAL: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Ranks up to BLOCK_R: what the tokens shrank to stays in registers for all columns."""
    t = first + tl.arange(0, BLOCK_T)
    r = tl.arange(0, BLOCK_R)
    v = _shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS).to(b.dtype.element_ty)
    at = delta + t.to(tl.int64)[:, None] * TOTAL
    for n in range(0, tl.minimum(BLOCK_N * BLOCKS, width - column), BLOCK_N):
        columns = column + n + tl.arange(0, BLOCK_N)
        weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
        y = tl.dot(v, weight, input_precision="ieee")
        mask = (t < past)[:, None] & (columns < width)[None, :]
        tl.store(at + columns[None, :], y.to(delta.dtype.element_ty), mask=mask)


@triton.jit
def _expand_chunks(
    partials,
    delta,
    b,
    pages,
    adapter,
    rank,
    first,
    past,
    tokens,
    column,
    width,
    MODULES: tl.constexpr,
    TOTAL: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Any rank, BLOCK_R rows at a time."""
    t = first + tl.arange(0, BLOCK_T)
    at = delta + t.to(tl.int64)[:, None] * TOTAL
    for n in range(0, tl.minimum(BLOCK_N * BLOCKS, width - column), BLOCK_N):
        columns = column + n + tl.arange(0, BLOCK_N)
        y = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
        for chunk in range(0, rank, BLOCK_R):
            r = chunk + tl.arange(0, BLOCK_R)
            v = _shrunk(partials, t, past, r, rank, tokens, MODULES, WIDTH, SPLITS).to(b.dtype.element_ty)
            weight = _b_block(b, pages, adapter, r, rank, columns, width, BLOCK_R, PAGES, PAGE_ROWS)
            y = tl.dot(v, weight, y, input_precision="ieee")
        mask = (t < past)[:, None] & (columns < width)[None, :]
        tl.store(at + columns[None, :], y.to(delta.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tokens"])
def _expand_many(
    partials,
    delta,
    b,
    ranks,
    pages,
    table,
    tokens,
    OUTS: tl.constexpr,
    OFFSETS: tl.constexpr,
    ALIGN: tl.constexpr,
    TOTAL: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCKS: tl.constexpr,
    PDL: tl.constexpr,
):
    """As _expand_few for many columns a program."""
    wait(PDL)
    MODULES: tl.constexpr = len(OUTS)
    first, past, slot = _tile(table, tl.program_id(1))
    if first < past:
        module, column, width, start, offset = _place(tl.program_id(0), OUTS, OFFSETS, BLOCK_N * BLOCKS, ALIGN)
        adapter = slot * MODULES + module
        rank = tl.load(ranks + adapter, mask=slot >= 0, other=0)
        partials += module * WIDTH
        delta += start
        b += offset
        # fmt: off
        if rank <= CHUNK:
            _expand_chunk(partials, delta, b, pages, adapter, rank, first, past, tokens, column, width, MODULES, TOTAL,
                          PAGES, PAGE_ROWS, WIDTH, SPLITS, BLOCK_T, CHUNK, BLOCK_N, BLOCKS)
        elif WIDTH > CHUNK:
            _expand_chunks(partials, delta, b, pages, adapter, rank, first, past, tokens, column, width, MODULES, TOTAL,
                           PAGES, PAGE_ROWS, WIDTH, SPLITS, BLOCK_T, BLOCK_R, BLOCK_N, BLOCKS)
        # fmt: on
    trigger(PDL)


class Few(NamedTuple):
    """Launch shapes for tiles of few tokens."""

    slices: int = 4  # of k a program, one a warp
    slice: int = 128  # k
    block_n: int = 256  # columns a program
    warps: int = 4  # of an expanding program
    one: bool = True  # single tokens are multiplied without matrix instructions
    early: bool = False


class Many(NamedTuple):
    """Launch shapes for tiles of many tokens."""

    span: int = 1024  # k a program
    block_k: int = 64
    shrink_warps: int = 4
    shrink_stages: int = 4
    block_n: int = 128
    blocks: int = 8  # of columns a program
    expand_warps: int = 4
    expand_stages: int = 2


def lora_delta(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int) -> Tensor:
    exact = x.dtype is torch.float32  # without matrix instructions: small blocks, or registers and memory overflow
    if tiles.tokens <= FEW:
        return few(x, pool, tiles, max_rank, Few(slice=64) if exact else Few())
    return many(x, pool, tiles, max_rank, Many(block_k=16, shrink_stages=2, block_n=32) if exact else Many())


def few(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int, shape: Few) -> Tensor:
    tokens, inner = x.shape
    modules, rows, _ = pool.a.shape
    total, align = _columns(pool.outs, pool.b_offsets)
    splits = triton.cdiv(inner, shape.slices * shape.slice)
    width = triton.cdiv(max_rank, CHUNK.value) * CHUNK.value
    partials = torch.empty((splits, tokens, modules, width), dtype=torch.float32, device=x.device)
    delta = x.new_empty((tokens, total))
    paging = {"PAGES": pool.pages.shape[2], "PAGE_ROWS": pool.page_rows, "WIDTH": width}
    shared = {"BLOCK_T": FEW, "BLOCK_R": CHUNK.value, "ONE": shape.one, "EARLY": shape.early, **paging, **options(x)}
    # fmt: off
    _shrink_few[splits, modules, len(tiles.table)](
        x, partials, pool.a, pool.ranks, pool.pages, tiles.table, tokens, rows,
        IN=inner, MODULES=modules, SLICES=shape.slices, SLICE=shape.slice, num_warps=shape.slices, **shared,
    )
    _expand_few[sum(triton.cdiv(out, shape.block_n) for out in pool.outs), len(tiles.table)](
        partials, delta, pool.b, pool.ranks, pool.pages, tiles.table, tokens,
        OUTS=pool.outs, OFFSETS=pool.b_offsets, ALIGN=align, TOTAL=total, SPLITS=splits, BLOCK_N=shape.block_n,
        num_warps=shape.warps, **shared,
    )
    # fmt: on
    return delta


def many(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int, shape: Many) -> Tensor:
    tokens, inner = x.shape
    modules, rows, _ = pool.a.shape
    total, align = _columns(pool.outs, pool.b_offsets)
    splits = triton.cdiv(inner, shape.span)
    width = triton.cdiv(max_rank, CHUNK.value) * CHUNK.value
    block_m = triton.next_power_of_2(modules)
    block_r = min(triton.next_power_of_2(width), 64 if exact_free(x) else CHUNK.value, max(CHUNK.value, 128 // block_m))
    partials = torch.empty((splits, tokens, modules, width), dtype=torch.float32, device=x.device)
    delta = x.new_empty((tokens, total))
    paging = {"PAGES": pool.pages.shape[2], "PAGE_ROWS": pool.page_rows, "WIDTH": width}
    shared = {"BLOCK_T": tiles.tokens, "BLOCK_R": block_r, **paging, **options(x)}
    # fmt: off
    _shrink_many[splits, len(tiles.table)](
        x, partials, pool.a, pool.ranks, pool.pages, tiles.table, tokens, rows,
        IN=inner, MODULES=modules, SPAN=shape.span, BLOCK_M=block_m, BLOCK_K=shape.block_k,
        num_warps=shape.shrink_warps, num_stages=shape.shrink_stages, **shared,
    )
    _expand_many[sum(triton.cdiv(out, shape.block_n * shape.blocks) for out in pool.outs), len(tiles.table)](
        partials, delta, pool.b, pool.ranks, pool.pages, tiles.table, tokens,
        OUTS=pool.outs, OFFSETS=pool.b_offsets, ALIGN=align, TOTAL=total, SPLITS=splits, BLOCK_N=shape.block_n,
        BLOCKS=shape.blocks, num_warps=shape.expand_warps, num_stages=shape.expand_stages, **shared,
    )
    # fmt: on
    return delta


def exact_free(x: Tensor) -> bool:
    return x.dtype is not torch.float32


@cache
def _columns(outs: tuple[int, ...], offsets: tuple[int, ...]) -> tuple[int, int]:
    """Of delta: its columns, and the power of two up to 16 that divides all of a site's widths and starts."""
    align = next(n for n in (16, 8, 4, 2, 1) if all(value % n == 0 for value in (*outs, *offsets)))
    return sum(outs), align
