"""The product of few rows on CUDA streams the weight once; everything else goes to cuBLAS.

On Hopper it is the one in `tma`, elsewhere the plain one here, whose loads Triton pipelines. In both the weight is the
left operand and the rows, padded to 16, 32 or 64, are the right one. Where a weight has too few tiles to keep the
multiprocessors busy, several blocks share a sum; the last of them to finish adds the float32 parts in their order, so
results repeat to the bit. cuBLAS takes more rows (at 96 it is faster by 10%), float32 (without tf32), and rows that do
not start at 16-byte borders; cuBLASLt those counts of rows for which it chooses better.
"""

from functools import cache

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait
from chorus_kernels.linear.shape import PART, WHOLE, Shape, padded, plain_shape, tma_shape

MOST_ROWS = 64
MOST_LT_ROWS = 160  # at 80, 96, 112, 128 and 160 rows a step is faster by 2.8, 4.3, 4.7, .3 and 1.5%, at 256 slower
MOST_TILES = 1024  # of a product that splits: 64 columns each
HOPPER = (9, 0)  # chips before it lack the copy engine, those after it have other matrix units


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, beside: bool) -> Tensor:
    if 0 < len(x) <= MOST_ROWS and x.element_size() == 2 and _fits(x, weight, onto):
        return few(x, weight, bias, onto, beside)
    return by_cublas(x, weight, bias, onto)


def few(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, beside: bool) -> Tensor:
    rows, (outs, inner) = len(x), weight.shape
    if multiprocessors := _hopper(x.device):
        from chorus_kernels.linear.tma import triton as tma

        shape = tma_shape(rows, outs, inner, multiprocessors, PART if beside else WHOLE)
        return tma.product(x, weight, bias, onto, _counters(x.device), shape, padded(rows))
    return product(x, weight, bias, onto, plain_shape(rows, outs, inner))


def by_cublas(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None) -> Tensor:
    if onto is None:
        if bias is None and MOST_ROWS < len(x) <= MOST_LT_ROWS and x.element_size() == 2:
            bias = _zeros(len(weight), x.dtype, x.device)  # torch asks cuBLASLt where there is a bias
        return F.linear(x, weight, bias)
    if bias is not None:
        onto.add_(bias)
    return onto.addmm_(x, weight.T)


def _fits(x: Tensor, weight: Tensor, onto: Tensor | None) -> bool:
    """Whether rows start at 16-byte borders, and `onto` is laid out as a new result would be."""
    return (
        weight.shape[1] % 128 == 0
        and x.stride(1) == weight.stride(1) == 1
        and x.stride(0) % 8 == weight.stride(0) % 8 == 0
        and x.data_ptr() % 16 == weight.data_ptr() % 16 == 0
        and (onto is None or onto.is_contiguous())
    )


@cache
def _hopper(device: torch.device) -> int:
    """How many multiprocessors a Hopper card has; 0 for any other device."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != HOPPER:
        return 0
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


@cache
def _counters(device: torch.device) -> Tensor:
    """Blocks that have finished, a tile. Each product leaves them at zero, and one runs at a time."""
    return torch.zeros(MOST_TILES, dtype=torch.int32, device=device)


@cache
def _zeros(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros(count, dtype=dtype, device=device)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, shape: Shape) -> Tensor:
    """x @ weight.T + bias (+ onto) for at most 64 rows. x: [rows, inner]; weight: [outs, inner]."""
    rows, (outs, inner) = len(x), weight.shape
    tiles = triton.cdiv(outs, shape.out)
    y = x.new_empty(rows, outs) if onto is None else onto
    parts, arrived = y, y
    if shape.splits > 1:
        parts = x.new_empty(shape.splits * tiles * shape.out * padded(rows), dtype=torch.float32)
        arrived = _counters(x.device)
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
        weight.stride(0),
        BLOCK_ROWS=padded(rows),
        BLOCK_OUT=shape.out,
        BLOCK_INNER=shape.inner,
        SPLITS=shape.splits,
        BIASED=bias is not None,
        ONTO=onto is not None,
        num_warps=shape.warps,
        num_stages=shape.stages,
        **options(x),
    )
    return y


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
    weight_stride,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    SPLITS: tl.constexpr,
    BIASED: tl.constexpr,
    ONTO: tl.constexpr,
    PDL: tl.constexpr,
):
    """y[t, o] = sum over i of x[t, i] * weight[o, i] + bias[o] (+ y[t, o])."""
    tile, split = tl.program_id(0), tl.program_id(1)
    steps = inner // BLOCK_INNER
    out = tile * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    token = tl.arange(0, BLOCK_ROWS)
    weight_rows = weight + tl.minimum(out, outs - 1).to(tl.int64)[:, None] * weight_stride
    lines = x + token[:, None] * x_stride
    wait(PDL)
    acc = tl.zeros([BLOCK_OUT, BLOCK_ROWS], tl.float32)
    for step in range(split * steps // SPLITS, (split + 1) * steps // SPLITS):
        column = step * BLOCK_INNER + tl.arange(0, BLOCK_INNER)[None, :]
        w = tl.load(weight_rows + column)
        v = tl.load(lines + column, mask=token[:, None] < rows, other=0.0)
        acc = tl.dot(w, v.T, acc, input_precision="ieee")
    trigger(PDL)
    finished = SPLITS == 1
    if SPLITS > 1:
        area: tl.constexpr = BLOCK_OUT * BLOCK_ROWS
        part = parts + tile * SPLITS * area + tl.arange(0, BLOCK_OUT)[:, None] * BLOCK_ROWS + token[None, :]
        tl.store(part + split * area, acc)
        tl.debug_barrier()  # the parts of all threads, before one of them says so
        finished = tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLITS - 1
        if finished:
            tl.store(arrived + tile, 0)
            acc = tl.zeros([BLOCK_OUT, BLOCK_ROWS], tl.float32)
            for other in tl.static_range(SPLITS):
                acc += tl.load(part + other * area, cache_modifier=".cg")
    if finished:
        result = acc.T
        target = y + token[:, None] * outs + out[None, :]
        inside = (token[:, None] < rows) & (out[None, :] < outs)
        if BIASED:
            result += tl.load(bias + out, mask=out < outs, other=0.0).to(tl.float32)[None, :]
        if ONTO:
            result += tl.load(target, mask=inside, other=0.0).to(tl.float32)
        tl.store(target, result.to(y.dtype.element_ty), mask=inside)
