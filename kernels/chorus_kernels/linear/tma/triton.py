"""The product of few rows on Hopper: a block's shared memory is full of weight before its input is there.

A weight is constant, so each block asks the copy engine for as many of its weight tiles as fit, then waits for the
kernel before this one, then asks for the tiles of x. It lets the kernel behind start at once: that one's blocks take
the place of each block that ends, and fill it with their weight in turn. What is in flight is then 15 to 30 MB, about
what memory delivers in the time from one product's last byte to the next one's first row of x.

The weight is the left operand of the matrix units, the rows, padded to a power of two, are the right one. In Gluon,
since Triton's own pipelining loads x and the weight together, after the wait.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma, warpgroup_mma, warpgroup_mma_wait
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from chorus_kernels.linear.shape import Shape

# Two names that Gluon changed between Triton 3.6 and 3.9.
copy_tile = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
block_barrier = getattr(gl, "barrier", None) or gl.thread_barrier

GLUON_TYPES = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, counters: Tensor, shape: Shape, block_rows: int
) -> Tensor:
    """x @ weight.T + bias (+ onto). x: [rows, inner]; weight: [outs, inner]; rows of both start at 16-byte borders."""
    rows, (outs, inner) = len(x), weight.shape
    tiles = -(-outs // shape.out)
    y = x.new_empty(rows, outs) if onto is None else onto
    parts = y
    if shape.splits > 1:
        parts = x.new_empty(shape.splits * tiles * shape.out * block_rows, dtype=torch.float32)
    product_kernel[tiles, shape.splits](
        _descriptor(weight, shape.out, shape.inner),
        _descriptor(x, block_rows, shape.inner),
        y if bias is None else bias,
        y,
        parts,
        counters,
        rows,
        outs,
        inner,
        BLOCK_ROWS=block_rows,
        BLOCK_OUT=shape.out,
        BLOCK_INNER=shape.inner,
        SPLITS=shape.splits,
        STAGES=shape.stages,
        BIASED=bias is not None,
        ONTO=onto is not None,
        num_warps=shape.warps,
        launch_pdl=True,
    )
    return y


def _descriptor(tensor: Tensor, rows: int, columns: int) -> TensorDescriptor:
    """Outside of the tensor it reads zeros."""
    block = [rows, columns]
    return TensorDescriptor(tensor, tensor.shape, tensor.stride(), block, _layout(rows, columns, tensor.dtype))


@cache  # it takes the host 10 µs
def _layout(rows: int, columns: int, dtype: torch.dtype) -> Any:
    return gl.NVMMASharedLayout.get_default_for([rows, columns], GLUON_TYPES[dtype])


@gluon.jit(do_not_specialize=["rows"])
def product_kernel(
    weight,
    x,
    bias,
    y,
    parts,
    arrived,
    rows,
    outs,
    inner,
    BLOCK_ROWS: gl.constexpr,
    BLOCK_OUT: gl.constexpr,
    BLOCK_INNER: gl.constexpr,
    SPLITS: gl.constexpr,
    STAGES: gl.constexpr,
    BIASED: gl.constexpr,
    ONTO: gl.constexpr,
    num_warps: gl.constexpr,
):
    """y[t, o] = sum over i of x[t, i] * weight[o, i] + bias[o] (+ y[t, o])."""
    tile = gl.program_id(0)
    split = gl.program_id(1)
    first_out = tile * BLOCK_OUT
    steps = (inner + BLOCK_INNER - 1) // BLOCK_INNER
    first = split * steps // SPLITS
    count = (split + 1) * steps // SPLITS - first
    dtype: gl.constexpr = weight.dtype
    weights = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_OUT, BLOCK_INNER], weight.layout)
    lines = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_ROWS, BLOCK_INNER], x.layout)
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    size: gl.constexpr = weight.block_type.nbytes + x.block_type.nbytes
    for stage in gl.static_range(STAGES):
        mbarrier.init(ready.index(stage), count=1)
    for stage in gl.static_range(STAGES):
        wanted = stage < count
        column = (first + stage) * BLOCK_INNER
        mbarrier.expect(ready.index(stage), size, pred=wanted)
        copy_tile(weight, [first_out, column], ready.index(stage), weights.index(stage), pred=wanted)
    gdc_wait()
    # All blocks that have room run by now, and those of the next kernel wait for them: they take no part of memory's
    # time but what this one leaves.
    gdc_launch_dependents()
    for stage in gl.static_range(STAGES):
        column = (first + stage) * BLOCK_INNER
        copy_tile(x, [0, column], ready.index(stage), lines.index(stage), pred=stage < count)

    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [num_warps, 1], [16, BLOCK_ROWS, 16])
    acc = gl.zeros([BLOCK_OUT, BLOCK_ROWS], gl.float32, layout)
    stage = 0
    phase = 0
    for step in range(count):
        mbarrier.wait(ready.index(stage), phase)
        acc = warpgroup_mma(weights.index(stage), lines.index(stage).permute([1, 0]), acc, is_async=True)
        acc = warpgroup_mma_wait(num_outstanding=0, deps=[acc])
        wanted = step + STAGES < count
        column = (first + step + STAGES) * BLOCK_INNER
        mbarrier.expect(ready.index(stage), size, pred=wanted)
        copy_tile(weight, [first_out, column], ready.index(stage), weights.index(stage), pred=wanted)
        copy_tile(x, [0, column], ready.index(stage), lines.index(stage), pred=wanted)
        last = stage == STAGES - 1
        phase = gl.where(last, phase ^ 1, phase)
        stage = gl.where(last, 0, stage + 1)

    finished = SPLITS == 1
    if SPLITS > 1:
        area: gl.constexpr = BLOCK_OUT * BLOCK_ROWS
        i = gl.arange(0, BLOCK_OUT, gl.SliceLayout(1, layout))
        j = gl.arange(0, BLOCK_ROWS, gl.SliceLayout(0, layout))
        part = parts + tile * SPLITS * area + i[:, None] * BLOCK_ROWS + j[None, :]
        gl.store(part + split * area, acc)
        block_barrier()  # the parts of all threads, before one of them says so
        finished = gl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLITS - 1
        if finished:
            gl.store(arrived + tile, 0)
            acc = gl.zeros([BLOCK_OUT, BLOCK_ROWS], gl.float32, layout)
            for other in gl.static_range(SPLITS):
                acc += gl.load(part + other * area, cache_modifier=".cg")
    if finished:
        rowwise: gl.constexpr = gl.BlockedLayout([8, 1], [8, 4], [1, num_warps], [0, 1])  # 16 bytes of y a thread
        out = first_out + gl.arange(0, BLOCK_OUT, gl.SliceLayout(1, rowwise))
        token = gl.arange(0, BLOCK_ROWS, gl.SliceLayout(0, rowwise))
        target = y + token[None, :] * outs + out[:, None]
        inside = (token[None, :] < rows) & (out[:, None] < outs)
        result = gl.convert_layout(acc, rowwise)
        if BIASED:
            result += gl.load(bias + out, mask=out < outs, other=0.0).to(gl.float32)[:, None]
        if ONTO:
            result += gl.load(target, mask=inside, other=0.0).to(gl.float32)
        gl.store(target, result.to(dtype), mask=inside)
