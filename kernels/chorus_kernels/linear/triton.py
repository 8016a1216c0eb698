"""The product of few rows on CUDA: it streams the weight once, and begins before its input is there.

A weight is constant, so while the kernel before this one still runs, each block asks for the first of its weight tiles:
they are in L2 when `wait` returns. The weight is the left operand of the dot and the rows are its right one, padded to
16, 32 or 64. Where a weight has too few tiles to keep all multiprocessors busy, several blocks share the sum over
`inner`; the last of them to finish adds the float32 parts in their fixed order, so results repeat to the bit.

Everything else goes to cuBLAS: many rows, float32 (without tf32), and inputs that no whole tile fits.
"""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait

MOST_ROWS = 64
MOST_TILES = 16384
LINE = 64  # 16-bit numbers of one line of L2


class Shape(NamedTuple):
    """How a product is cut; figures in docs/performance.md."""

    out: int  # rows of the weight a block
    inner: int  # columns of the weight a step
    splits: int  # blocks that share one sum
    ahead: int  # steps of the weight in L2 before they are wanted
    warps: int
    stages: int


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    rows, (outs, inner) = len(x), weight.shape
    if 0 < rows <= MOST_ROWS and x.element_size() == 2 and fits(x, weight, onto):
        return product(x, weight, bias, onto, shape_for(rows, outs, inner))
    return by_cublas(x, weight, bias, onto)


def by_cublas(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None) -> Tensor:
    if onto is None:
        return F.linear(x, weight, bias)
    if bias is not None:
        onto.add_(bias)
    return onto.addmm_(x, weight.T)


def fits(x: Tensor, weight: Tensor, onto: Tensor | None) -> bool:
    """Whether whole tiles can be read, 16 bytes at a time."""
    inner = weight.shape[1]
    return (
        inner % 128 == 0
        and x.stride(1) == 1
        and x.stride(0) % 8 == 0
        and weight.is_contiguous()
        and (onto is None or onto.is_contiguous())
    )


def shape_for(rows: int, outs: int, inner: int) -> Shape:
    if outs > 16384:
        return Shape(128, 64, 1, 8, 8, 6)
    return Shape(64, 128, 1 if outs > 4096 else 2, 8, 4, 5)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, shape: Shape) -> Tensor:
    """x @ weight.T + bias (+ onto) for at most 64 rows. x: [rows, inner]; weight: [outs, inner]."""
    rows, (outs, inner) = len(x), weight.shape
    tiles = triton.cdiv(outs, shape.out)
    block_rows = 16 if rows <= 16 else 32 if rows <= 32 else 64
    y = x.new_empty(rows, outs) if onto is None else onto
    parts = y if shape.splits == 1 else _parts(x, shape.splits * tiles * shape.out * block_rows)
    arrived = y if shape.splits == 1 else _counters(x.device.index)
    product_kernel[tiles, shape.splits](
        x,
        weight,
        y if bias is None else bias,
        y,
        parts,
        arrived,
        rows,
        outs,
        inner,
        x.stride(0),
        BLOCK_ROWS=block_rows,
        BLOCK_OUT=shape.out,
        BLOCK_INNER=shape.inner,
        SPLITS=shape.splits,
        AHEAD=shape.ahead,
        BIASED=bias is not None,
        ONTO=onto is not None,
        LINE=LINE,
        num_warps=shape.warps,
        num_stages=shape.stages,
        **options(x),
    )
    return y


def _parts(x: Tensor, size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device=x.device)


@cache
def _counters(index: int | None) -> Tensor:
    """Blocks that have finished, a tile of any product. Each product leaves them at zero, and one runs at a time."""
    device = "cpu" if index is None else torch.device("cuda", index)
    return torch.zeros(MOST_TILES, dtype=torch.int32, device=device)


@triton.jit
def fetch(pointers):
    """Asks for lines of the weight to be brought to L2, and does not wait for them."""
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; // $0", "=r,l", [pointers], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit(do_not_specialize=["rows"])
def product_kernel(
    x,
    weight,
    bias,
    y,
    parts,
    arrived,
    rows,
    outs,
    inner,
    x_stride,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    SPLITS: tl.constexpr,
    AHEAD: tl.constexpr,
    BIASED: tl.constexpr,
    ONTO: tl.constexpr,
    LINE: tl.constexpr,
    PDL: tl.constexpr,
):
    """y[t, o] = sum over i of x[t, i] * weight[o, i] + bias[o] (+ y[t, o])."""
    tile, split = tl.program_id(0), tl.program_id(1)
    steps = inner // BLOCK_INNER
    first = split * steps // SPLITS
    last = (split + 1) * steps // SPLITS
    out = tile * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    token = tl.arange(0, BLOCK_ROWS)
    step = tl.arange(0, BLOCK_INNER)
    weight_rows = weight + tl.minimum(out, outs - 1).to(tl.int64)[:, None] * inner  # [BLOCK_OUT, 1]
    line = tl.arange(0, BLOCK_INNER // LINE) * LINE
    if PDL:
        for index in range(first, tl.minimum(first + AHEAD, last)):
            fetch(weight_rows + index * BLOCK_INNER + line[None, :])
    wait(PDL)
    acc = tl.zeros([BLOCK_OUT, BLOCK_ROWS], tl.float32)
    for index in range(first, last):
        if PDL and AHEAD > 0:
            fetch(weight_rows + tl.minimum(index + AHEAD, last - 1) * BLOCK_INNER + line[None, :])
        column = index * BLOCK_INNER + step
        w = tl.load(weight_rows + column[None, :])
        v = tl.load(x + token[:, None] * x_stride + column[None, :], mask=token[:, None] < rows, other=0.0)
        acc = tl.dot(w, v.T, acc, input_precision="ieee")
    trigger(PDL)
    part = tl.arange(0, BLOCK_OUT)[:, None] * BLOCK_ROWS + token[None, :]
    finished = SPLITS == 1
    if SPLITS > 1:
        size: tl.constexpr = BLOCK_OUT * BLOCK_ROWS
        mine = parts + tile * SPLITS * size
        tl.store(mine + split * size + part, acc)
        tl.debug_barrier()
        finished = tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLITS - 1
        if finished:
            tl.store(arrived + tile, 0)
            acc = tl.zeros([BLOCK_OUT, BLOCK_ROWS], tl.float32)
            for other in tl.static_range(SPLITS):
                acc += tl.load(mine + other * size + part, cache_modifier=".cg")
    if finished:
        if BIASED:
            acc += tl.load(bias + out, mask=out < outs, other=0.0).to(tl.float32)[:, None]
        target = y + token[:, None] * outs + out[None, :]
        mask = (token[:, None] < rows) & (out[None, :] < outs)
        result = acc.T
        if ONTO:
            result += tl.load(target, mask=mask, other=0.0).to(tl.float32)
        tl.store(target, result.to(y.dtype.element_ty), mask=mask)
