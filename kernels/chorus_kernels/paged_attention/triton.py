"""Attention over the paged cache on a GPU: decode rows split over their context, prompt chunks in tiles of queries.

A kernel takes heads that share keys and values as rows of one product, so that the cache is read once for all of
them. Softmax runs along the keys with a running maximum (Milakov and Gimelshein; FlashAttention 2), in powers of two.

Which keys a program reads, and in which order, depends on nothing but its own sequence: a row's result is the same
bit for bit wherever it stands in a batch of the same number of rows.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait
from chorus_kernels.paged_attention.paged import PagedBatch, tile_lines

LOWEST = tl.constexpr(-3.0e38)  # a maximum of nothing that stays finite, so that -inf scores give 0 and never NaN
CHUNK = 16  # partial results that are combined at once
MOST_SPLITS = 64
PROGRAMS = 1056  # 8 on each of an H200's multiprocessors: enough bytes in flight


@triton.jit
def _blocks(table, first, context, PAGE: tl.constexpr, BLOCK_N: tl.constexpr):
    """The cache blocks of keys first ... first + BLOCK_N - 1."""
    positions = first + tl.arange(0, BLOCK_N)
    return tl.load(table + positions // PAGE, mask=positions < context, other=0)


@triton.jit
def _keys(
    query, cache, table, blocks, first, context, reach, scale, peak, total, output,
    SLOT: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    BLOCK_N: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Adds keys first ... first + BLOCK_N - 1, in `blocks`, to the running softmax of queries at `reach`.

    It returns the next keys' blocks too: an address that is known a tile ahead lets loads run several tiles ahead.
    """
    positions = first + tl.arange(0, BLOCK_N)
    dims = tl.arange(0, D)
    slots = blocks.to(tl.int64) * PAGE + positions % PAGE
    blocks = _blocks(table, first + BLOCK_N, context, PAGE, BLOCK_N)
    pointers = cache + slots[:, None] * SLOT + dims[None, :]  # [BLOCK_N, D]
    if MASKED:
        present = (positions < context)[:, None] & (dims < HEAD_DIM)[None, :]
        key = tl.load(pointers, mask=present, other=0.0)
        value = tl.load(pointers + SLOT // 2, mask=present, other=0.0)
    elif HEAD_DIM < D:
        key = tl.load(pointers, mask=(dims < HEAD_DIM)[None, :], other=0.0)
        value = tl.load(pointers + SLOT // 2, mask=(dims < HEAD_DIM)[None, :], other=0.0)
    else:
        key = tl.load(pointers)
        value = tl.load(pointers + SLOT // 2)
    scores = tl.dot(query, tl.trans(key), input_precision="ieee")
    if MASKED:
        visible = positions[None, :] <= reach[:, None]
        if WINDOW:
            visible = visible & (positions[None, :] > reach[:, None] - WINDOW)
        scores = tl.where(visible, scores, float("-inf"))
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    weights = tl.exp2(scores * scale - higher[:, None])
    fade = tl.exp2(peak - higher)
    total = total * fade + tl.sum(weights, 1)
    output = tl.dot(weights.to(value.dtype), value, output * fade[:, None], input_precision="ieee")
    return blocks, higher, total, output


@triton.jit
def _splits(context, splits, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """The first tile of keys that is seen, the tiles of each split, and how many splits have any."""
    begin = 0
    if WINDOW:
        begin = tl.maximum(context - WINDOW, 0) // BLOCK_N
    tiles = tl.cdiv(context, BLOCK_N) - begin
    each = tl.maximum(tl.cdiv(tiles, splits), 1)
    return begin, each, tl.cdiv(tiles, each)


@triton.jit(do_not_specialize=["table_stride"])
def _decode(
    query, cache, output, partial, levels, rows, contexts, tables, table_stride, token_stride, head_stride, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """output[i] = softmax(scale * q[i] · k) · v over a part of sequence i's context, for one group of heads."""
    kv_head, split, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    splits = tl.num_programs(1)
    context = tl.load(contexts + sequence)
    table = tables + tl.load(rows + sequence).to(tl.int64) * table_stride
    begin, each, active = _splits(context, splits, WINDOW, BLOCK_N)
    wait(PDL)
    if split < active:
        members, dims = tl.arange(0, BLOCK_M), tl.arange(0, D)
        inside = (members < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
        heads = kv_head * GROUP + members
        q = tl.load(
            query + sequence.to(tl.int64) * token_stride + heads[:, None] * head_stride + dims[None, :],
            mask=inside, other=0.0,
        )  # fmt: skip
        reach = tl.zeros([BLOCK_M], tl.int32) + (context - 1)
        peak = tl.full([BLOCK_M], LOWEST, tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        mean = tl.zeros([BLOCK_M, D], tl.float32)
        first = (begin + split * each) * BLOCK_N
        blocks = _blocks(table, first, context, PAGE, BLOCK_N)
        for start in tl.range(first, tl.minimum(first + each * BLOCK_N, context), BLOCK_N):
            blocks, peak, total, mean = _keys(
                q, cache + kv_head * HEAD_DIM, table, blocks, start, context, reach, scale, peak, total, mean,
                2 * KV_HEADS * HEAD_DIM, HEAD_DIM, D, PAGE, WINDOW, BLOCK_N, True,
            )  # fmt: skip
        trigger(PDL)
        mean = mean / total[:, None]
        head = sequence.to(tl.int64) * KV_HEADS * GROUP + heads  # [BLOCK_M], of the batch
        if SPLIT:
            part = head * splits + split
            tl.store(partial + part[:, None] * HEAD_DIM + dims[None, :], mean, mask=inside)
            tl.store(levels + part, peak + tl.log2(total), mask=members < GROUP)
        else:
            tl.store(output + head[:, None] * HEAD_DIM + dims[None, :], mean, mask=inside)


@triton.jit
def _combine(
    partial, levels, output, contexts, splits,
    HEAD_DIM: tl.constexpr, D: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr,
    CHUNK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """output[i] = the mean of a head's partial results, weighted by two to the power of their levels."""
    sequence, heads = tl.program_id(1), tl.num_programs(0)
    head = sequence.to(tl.int64) * heads + tl.program_id(0)
    _, _, active = _splits(tl.load(contexts + sequence), splits, WINDOW, BLOCK_N)
    dims = tl.arange(0, D)
    wait(PDL)
    if active > 0:
        peak, total = tl.full([1], LOWEST, tl.float32), tl.zeros([1], tl.float32)
        mean = tl.zeros([D], tl.float32)
        for start in tl.range(0, active, CHUNK):
            parts = start + tl.arange(0, CHUNK)
            level = tl.load(levels + head * splits + parts, mask=parts < active, other=float("-inf"))
            pointers = partial + (head * splits + parts)[:, None] * HEAD_DIM + dims[None, :]
            part = tl.load(pointers, mask=(parts < active)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)
            higher = tl.maximum(peak, tl.max(level, 0))
            weight = tl.exp2(level - higher)
            fade = tl.exp2(peak - higher)
            total = total * fade + tl.sum(weight, 0)
            mean = mean * fade + tl.sum(part * weight[:, None], 0)
            peak = higher
        trigger(PDL)
        tl.store(output + head * HEAD_DIM + dims, mean / total, mask=dims < HEAD_DIM)


@triton.jit(do_not_specialize=["table_stride"])
def _prompt(
    query, cache, output, tiles, rows, starts, counts, contexts, tables, table_stride, token_stride, head_stride, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, QUERIES: tl.constexpr, HEAD_DIM: tl.constexpr,
    D: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """output[t] = softmax(scale * q[t] · k) · v for QUERIES tokens of one sequence and PACK heads of one group."""
    first_head = tl.program_id(0) * PACK
    sequence = tl.load(tiles + 2 * tl.program_id(1))
    first_query = tl.load(tiles + 2 * tl.program_id(1) + 1)
    wait(PDL)
    if sequence >= 0:
        count = tl.load(counts + sequence)
        context = tl.load(contexts + sequence)
        table = tables + tl.load(rows + sequence).to(tl.int64) * table_stride
        kv_head = first_head // GROUP
        past_query = tl.minimum(first_query + QUERIES, count)

        lines, dims = tl.arange(0, BLOCK_M), tl.arange(0, D)
        queries = first_query + lines // PACK
        inside = (queries < past_query)[:, None] & (dims < HEAD_DIM)[None, :]
        tokens = tl.load(starts + sequence).to(tl.int64) + queries
        heads = first_head + lines % PACK
        q = tl.load(
            query + tokens[:, None] * token_stride + heads[:, None] * head_stride + dims[None, :],
            mask=inside, other=0.0,
        )  # fmt: skip
        reach = context - count + tl.minimum(queries, past_query - 1)
        nearest, farthest = context - count + first_query, context - count + past_query - 1
        end = farthest + 1
        begin, seen_begin = 0, 0  # of the keys that some see, of those that all see
        if WINDOW:
            begin = tl.maximum(nearest - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
            seen_begin = tl.minimum(tl.cdiv(tl.maximum(farthest - WINDOW + 1, 0), BLOCK_N) * BLOCK_N, end)
        seen_end = tl.maximum((nearest + 1) // BLOCK_N * BLOCK_N, seen_begin)

        peak = tl.full([BLOCK_M], LOWEST, tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        mean = tl.zeros([BLOCK_M, D], tl.float32)
        blocks = _blocks(table, begin, context, PAGE, BLOCK_N)
        if WINDOW:
            for start in tl.range(begin, seen_begin, BLOCK_N):
                blocks, peak, total, mean = _keys(
                    q, cache + kv_head * HEAD_DIM, table, blocks, start, context, reach, scale, peak, total, mean,
                    2 * KV_HEADS * HEAD_DIM, HEAD_DIM, D, PAGE, WINDOW, BLOCK_N, True,
                )  # fmt: skip
        for start in tl.range(seen_begin, seen_end, BLOCK_N):
            blocks, peak, total, mean = _keys(
                q, cache + kv_head * HEAD_DIM, table, blocks, start, context, reach, scale, peak, total, mean,
                2 * KV_HEADS * HEAD_DIM, HEAD_DIM, D, PAGE, WINDOW, BLOCK_N, False,
            )  # fmt: skip
        for start in tl.range(seen_end, end, BLOCK_N):
            blocks, peak, total, mean = _keys(
                q, cache + kv_head * HEAD_DIM, table, blocks, start, context, reach, scale, peak, total, mean,
                2 * KV_HEADS * HEAD_DIM, HEAD_DIM, D, PAGE, WINDOW, BLOCK_N, True,
            )  # fmt: skip
        trigger(PDL)
        pointers = output + (tokens * KV_HEADS * GROUP + heads)[:, None] * HEAD_DIM + dims[None, :]
        tl.store(pointers, mean / total[:, None], mask=inside)


def paged_attention(query: Tensor, cache: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """The reference's, for a PagedBatch. query: [tokens, heads, head_dim], heads dense; cache: contiguous."""
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    folded = scale * math.log2(math.e)
    if batch.singles:
        _launch_decode(query, cache, batch, folded, output)
    if batch.tiles is not None:
        _launch_prompt(query, cache, batch, batch.tiles, folded, output)
    return output


def splits(sequences: int, kv_heads: int) -> int:
    """Parts of each context, of which every one is a program: known to a captured graph, whatever the contexts."""
    return max(1, min(MOST_SPLITS, PROGRAMS // (sequences * kv_heads)))


def _launch_decode(query: Tensor, cache: Tensor, batch: PagedBatch, scale: float, output: Tensor) -> None:
    _, heads, head_dim = query.shape
    kv_heads, parts = cache.shape[2], splits(batch.singles, cache.shape[2])
    padded = triton.next_power_of_2(head_dim)
    keys = max(16, min(64, 16384 // (padded * query.element_size())))
    window, extra = batch.window or 0, options(query)
    partial = levels = output
    if parts > 1:
        partial = torch.empty(batch.singles, heads, parts, head_dim, dtype=torch.float32, device=query.device)
        levels = torch.empty(batch.singles, heads, parts, dtype=torch.float32, device=query.device)
    _decode[kv_heads, parts, batch.singles](
        query, cache, output, partial, levels, batch.rows, batch.contexts, batch.block_tables,
        batch.block_tables.stride(0), query.stride(0), query.stride(1), scale,
        KV_HEADS=kv_heads, GROUP=heads // kv_heads, HEAD_DIM=head_dim, D=padded, PAGE=batch.block_size, WINDOW=window,
        BLOCK_M=max(16, triton.next_power_of_2(heads // kv_heads)), BLOCK_N=keys, SPLIT=parts > 1,
        num_warps=4, num_stages=2, **extra,
    )  # fmt: skip
    if parts > 1:
        _combine[heads, batch.singles](
            partial, levels, output, batch.contexts, parts,
            HEAD_DIM=head_dim, D=padded, WINDOW=window, BLOCK_N=keys, CHUNK=CHUNK, num_warps=4, **extra,
        )  # fmt: skip


def _launch_prompt(
    query: Tensor, cache: Tensor, batch: PagedBatch, tiles: Tensor, scale: float, output: Tensor
) -> None:
    _, heads, head_dim = query.shape
    kv_heads, group, queries = cache.shape[2], heads // cache.shape[2], batch.tile_queries
    padded = triton.next_power_of_2(head_dim)
    fitting = max(tile_lines(query.dtype) // queries, 1)
    pack = next(heads for heads in range(min(fitting, group), 0, -1) if group % heads == 0)
    _prompt[heads // pack, len(tiles)](
        query, cache, output, tiles, batch.rows, batch.starts, batch.counts, batch.contexts, batch.block_tables,
        batch.block_tables.stride(0), query.stride(0), query.stride(1), scale,
        KV_HEADS=kv_heads, GROUP=group, PACK=pack, QUERIES=queries, HEAD_DIM=head_dim, D=padded,
        PAGE=batch.block_size, WINDOW=batch.window or 0, BLOCK_M=max(16, triton.next_power_of_2(queries * pack)),
        BLOCK_N=max(16, min(64, 16384 // (padded * query.element_size()))),
        num_warps=4 if query.dtype == torch.float32 else 8, num_stages=3, **options(query),
    )  # fmt: skip
