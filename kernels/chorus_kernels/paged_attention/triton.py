"""Attention over the paged cache on a GPU: decode rows split over their context, prompt chunks in tiles of queries.

A kernel takes heads that share keys and values as lines of one product, so that the cache is read once for all of
them. Softmax runs along the keys with a running maximum (Milakov and Gimelshein; FlashAttention 2), in powers of two.

Which keys a program reads, and in which order, depends on nothing but its own sequence: a row's result is the same
bit for bit wherever it stands in a batch of the same number of rows.
"""

import math
from functools import cache as cached

import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait
from chorus_kernels.paged_attention.paged import PagedBatch, splits, tile_lines

LOWEST = tl.constexpr(-3.0e38)  # a maximum of nothing that stays finite, so that -inf scores give 0 and never NaN
SHORTEST = tl.constexpr(4)  # tiles of keys that take as long as to combine parts


@triton.jit
def _blocks(table, first, context, PAGE: tl.constexpr, BLOCK_N: tl.constexpr):
    """The cache blocks of keys first ... first + BLOCK_N - 1."""
    positions = first + tl.arange(0, BLOCK_N)
    return tl.load(table + positions // PAGE, mask=positions < context, other=0)


@triton.jit
def _way_blocks(table, first, context, PAGE: tl.constexpr, WAYS: tl.constexpr, EACH: tl.constexpr):
    """The cache blocks of WAYS runs of EACH keys: one a run where a run lies in one block, else one a key."""
    if PAGE % EACH == 0:
        positions = first + tl.arange(0, WAYS) * EACH
    else:
        positions = first + tl.arange(0, WAYS)[:, None] * EACH + tl.arange(0, EACH)[None, :]
    return tl.load(table + positions // PAGE, mask=positions < context, other=0)


@triton.jit
def _way_places(blocks, first, SLOT: tl.constexpr, PAGE: tl.constexpr, WAYS: tl.constexpr, EACH: tl.constexpr):
    """Where the keys of those blocks begin in the cache: [WAYS, EACH]."""
    ways, local = tl.arange(0, WAYS), tl.arange(0, EACH)
    if PAGE % EACH == 0:
        run = (blocks.to(tl.int64) * PAGE + (first + ways * EACH) % PAGE) * SLOT
        places = run[:, None] + (local * SLOT)[None, :]
    else:
        positions = first + ways[:, None] * EACH + local[None, :]
        places = (blocks.to(tl.int64) * PAGE + positions % PAGE) * SLOT
    return places


@triton.jit
def _sum_of_ways(x, WAYS: tl.constexpr, M: tl.constexpr, D: tl.constexpr):
    """x summed over its first dimension, by halves: tl.sum across warps takes several times the instructions."""
    x = tl.permute(x, (1, 2, 0))
    if WAYS == 4:
        even, odd = tl.split(tl.reshape(x, (M, D, 2, 2)))
        x = even + odd
    even, odd = tl.split(x)
    return even + odd


@triton.jit(do_not_specialize=["table_stride"])
def _decode(
    query, cache, output, partial, levels, arrivals, rows, contexts, tables, table_stride, token_stride, head_stride,
    scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, MEMBERS: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr,
    PAGE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, WAYS: tl.constexpr, EACH: tl.constexpr,
    SPLIT: tl.constexpr, CHUNK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """output[i] = softmax(scale * q[i] · k) · v for one group of heads, over a part of sequence i's context.

    A tile of keys is cut into WAYS runs, and each warp has a softmax of its own over one of them: the warps exchange
    nothing before the end. The program that ends last of a context's parts combines them, in the order of the parts.
    """
    SLOT: tl.constexpr = 2 * KV_HEADS * HEAD_DIM
    TILE: tl.constexpr = WAYS * EACH
    kv_head, split, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    context = tl.load(contexts + sequence)
    table = tables + tl.load(rows + sequence).to(tl.int64) * table_stride
    begin = 0
    if WINDOW:
        begin = tl.maximum(context - WINDOW, 0) // TILE
    tiles = tl.cdiv(context, TILE) - begin
    each = tl.maximum(tl.cdiv(tiles, tl.num_programs(1)), SHORTEST)  # tiles of each part
    active = tl.cdiv(tiles, each)  # parts that have any
    first = (begin + split * each) * TILE
    blocks = _way_blocks(table, first, context, PAGE, WAYS, EACH)
    wait(PDL)
    if split < active:
        lines, dims = tl.arange(0, BLOCK_M), tl.arange(0, D)
        inside = (lines < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
        heads = kv_head * GROUP + lines
        q = tl.load(
            query + sequence.to(tl.int64) * token_stride + heads[:, None] * head_stride + dims[None, :],
            mask=inside, other=0.0,
        )  # fmt: skip
        q = tl.broadcast_to(q[None, :, :], (WAYS, BLOCK_M, D))
        keys = cache + kv_head * HEAD_DIM + dims[None, None, :]
        peak = tl.full([WAYS, BLOCK_M], LOWEST, tl.float32)
        total = tl.zeros([WAYS, BLOCK_M], tl.float32)
        mean = tl.zeros([WAYS, BLOCK_M, D], tl.float32)
        for start in tl.range(first, tl.minimum(first + each * TILE, context), TILE):
            positions = start + tl.arange(0, WAYS)[:, None] * EACH + tl.arange(0, EACH)[None, :]
            places = keys + _way_places(blocks, start, SLOT, PAGE, WAYS, EACH)[:, :, None]
            blocks = _way_blocks(table, start + TILE, context, PAGE, WAYS, EACH)
            present = (positions < context)[:, :, None] & (dims < HEAD_DIM)[None, None, :]
            key = tl.load(places, mask=present, other=0.0)
            value = tl.load(places + KV_HEADS * HEAD_DIM, mask=present, other=0.0)
            scores = tl.dot(q, tl.permute(key, (0, 2, 1)), input_precision="ieee")
            visible = positions < context
            if WINDOW:
                visible = visible & (positions >= context - WINDOW)
            scores = tl.where(visible[:, None, :], scores, float("-inf"))
            higher = tl.maximum(peak, tl.max(scores, 2) * scale)
            weights = tl.exp2(scores * scale - higher[:, :, None])
            fade = tl.exp2(peak - higher)
            total = total * fade + tl.sum(weights, 2)
            mean = tl.dot(weights.to(value.dtype), value, mean * fade[:, :, None], input_precision="ieee")
            peak = higher
        trigger(PDL)
        top = tl.max(peak, 0)
        share = tl.exp2(peak - top[None, :])
        whole = tl.sum(total * share, 0)
        result = _sum_of_ways(mean * share[:, :, None], WAYS, BLOCK_M, D) * (1.0 / whole)[:, None]
        head = sequence.to(tl.int64) * KV_HEADS * GROUP + heads  # [BLOCK_M], of the batch
        if not SPLIT or active == 1:
            tl.store(output + head[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)
        else:
            part = head * tl.num_programs(1) + split
            tl.store(partial + part[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)
            tl.store(levels + part, top + tl.log2(whole), mask=lines < GROUP)
            tl.debug_barrier()
            counter = arrivals + sequence * KV_HEADS + kv_head
            if tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == active - 1:
                tl.store(counter, 0)
                _combine(
                    partial, levels, output, sequence.to(tl.int64) * KV_HEADS * GROUP + kv_head * GROUP,
                    tl.num_programs(1), active, GROUP, MEMBERS, HEAD_DIM, D, CHUNK,
                )  # fmt: skip


@triton.jit
def _combine(
    partial, levels, output, first_head, splits, active,
    GROUP: tl.constexpr, MEMBERS: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The mean of a group's partial results, weighted by two to the power of their levels."""
    members, dims = tl.arange(0, MEMBERS), tl.arange(0, D)
    heads = first_head + members
    peak = tl.full([MEMBERS], LOWEST, tl.float32)
    total = tl.zeros([MEMBERS], tl.float32)
    mean = tl.zeros([MEMBERS, D], tl.float32)
    for start in tl.range(0, active, CHUNK, num_stages=1):
        parts = start + tl.arange(0, CHUNK)
        present = (members < GROUP)[:, None] & (parts < active)[None, :]
        places = heads[:, None] * splits + parts[None, :]
        # Past the level 1 cache, which may hold what was there before another multiprocessor wrote it.
        level = tl.load(levels + places, mask=present, other=float("-inf"), cache_modifier=".cg")
        part = tl.load(
            partial + places[:, :, None] * HEAD_DIM + dims[None, None, :],
            mask=present[:, :, None] & (dims < HEAD_DIM)[None, None, :], other=0.0, cache_modifier=".cg",
        )  # fmt: skip
        higher = tl.maximum(peak, tl.max(level, 1))
        weights = tl.exp2(level - higher[:, None])
        fade = tl.exp2(peak - higher)
        total = total * fade + tl.sum(weights, 1)
        mean = mean * fade[:, None] + tl.sum(part * weights[:, :, None], 1)
        peak = higher
    total = tl.where(members < GROUP, total, 1.0)
    inside = (members < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
    tl.store(output + heads[:, None] * HEAD_DIM + dims[None, :], mean * (1.0 / total)[:, None], mask=inside)


@triton.jit
def _attend(
    q, keys, table, blocks, first, context, reach, scale, peak, total, mean,
    SLOT: tl.constexpr, HEAD_DIM: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr,
):  # fmt: skip
    """Adds keys first ... first + BLOCK_N - 1, which lie in `blocks`, to the running softmax of queries at `reach`.

    The next keys' blocks are read here and returned: an address known a tile ahead lets loads run tiles ahead.
    """
    D: tl.constexpr = q.shape[1]
    positions = first + tl.arange(0, BLOCK_N)
    dims = tl.arange(0, D)
    slots = blocks.to(tl.int64) * PAGE + positions % PAGE
    blocks = _blocks(table, first + BLOCK_N, context, PAGE, BLOCK_N)
    places = keys + slots[:, None] * SLOT + dims[None, :]
    if MASKED:
        present = (positions < context)[:, None] & (dims < HEAD_DIM)[None, :]
        key = tl.load(places, mask=present, other=0.0)
        value = tl.load(places + SLOT // 2, mask=present, other=0.0)
    elif HEAD_DIM < D:
        key = tl.load(places, mask=(dims < HEAD_DIM)[None, :], other=0.0)
        value = tl.load(places + SLOT // 2, mask=(dims < HEAD_DIM)[None, :], other=0.0)
    else:
        key = tl.load(places)
        value = tl.load(places + SLOT // 2)
    scores = tl.dot(q, tl.trans(key), input_precision="ieee")
    if MASKED:
        visible = positions[None, :] <= reach[:, None]
        if WINDOW:
            visible = visible & (positions[None, :] > reach[:, None] - WINDOW)
        scores = tl.where(visible, scores, float("-inf"))
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    weights = tl.exp2(scores * scale - higher[:, None])
    fade = tl.exp2(peak - higher)
    total = total * fade + tl.sum(weights, 1)
    mean = tl.dot(weights.to(value.dtype), value, mean * fade[:, None], input_precision="ieee")
    return blocks, higher, total, mean


@triton.jit(do_not_specialize=["table_stride"])
def _prompt(
    query, cache, output, tiles, rows, starts, counts, contexts, tables, table_stride, token_stride, head_stride, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, QUERIES: tl.constexpr, HEAD_DIM: tl.constexpr,
    D: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """output[t] = softmax(scale * q[t] · k) · v for QUERIES tokens of one sequence and PACK heads of one group."""
    SLOT: tl.constexpr = 2 * KV_HEADS * HEAD_DIM
    first_head = tl.program_id(0) * PACK
    sequence = tl.load(tiles + 2 * tl.program_id(1))
    first_query = tl.load(tiles + 2 * tl.program_id(1) + 1)
    wait(PDL)
    if sequence >= 0:
        count = tl.load(counts + sequence)
        context = tl.load(contexts + sequence)
        table = tables + tl.load(rows + sequence).to(tl.int64) * table_stride
        past_query = tl.minimum(first_query + QUERIES, count)
        nearest, farthest = context - count + first_query, context - count + past_query - 1  # positions of queries
        end = farthest + 1
        begin, all_begin = 0, 0  # of the keys that any query sees, of those that all see
        if WINDOW:
            begin = tl.maximum(nearest - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
            all_begin = tl.minimum(tl.cdiv(tl.maximum(farthest - WINDOW + 1, 0), BLOCK_N) * BLOCK_N, end)
        all_end = tl.maximum((nearest + 1) // BLOCK_N * BLOCK_N, all_begin)

        lines, dims = tl.arange(0, BLOCK_M), tl.arange(0, D)
        queries = first_query + lines // PACK
        inside = (queries < past_query)[:, None] & (dims < HEAD_DIM)[None, :]
        tokens = tl.load(starts + sequence).to(tl.int64) + queries
        heads = first_head + lines % PACK
        q = tl.load(
            query + tokens[:, None] * token_stride + heads[:, None] * head_stride + dims[None, :],
            mask=inside, other=0.0,
        )  # fmt: skip
        reach = tl.minimum(context - count + queries, farthest)
        peak = tl.full([BLOCK_M], LOWEST, tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        mean = tl.zeros([BLOCK_M, D], tl.float32)
        keys = cache + first_head // GROUP * HEAD_DIM
        blocks = _blocks(table, begin, context, PAGE, BLOCK_N)
        if WINDOW:
            for start in tl.range(begin, all_begin, BLOCK_N):
                blocks, peak, total, mean = _attend(
                    q, keys, table, blocks, start, context, reach, scale, peak, total, mean,
                    SLOT, HEAD_DIM, PAGE, WINDOW, BLOCK_N, True,
                )  # fmt: skip
        for start in tl.range(all_begin, all_end, BLOCK_N):
            blocks, peak, total, mean = _attend(
                q, keys, table, blocks, start, context, reach, scale, peak, total, mean,
                SLOT, HEAD_DIM, PAGE, WINDOW, BLOCK_N, False,
            )  # fmt: skip
        for start in tl.range(all_end, end, BLOCK_N):
            blocks, peak, total, mean = _attend(
                q, keys, table, blocks, start, context, reach, scale, peak, total, mean,
                SLOT, HEAD_DIM, PAGE, WINDOW, BLOCK_N, True,
            )  # fmt: skip
        trigger(PDL)
        pointers = output + (tokens * KV_HEADS * GROUP + heads)[:, None] * HEAD_DIM + dims[None, :]
        tl.store(pointers, mean * (1.0 / total)[:, None], mask=inside)


def paged_attention(query: Tensor, cache: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """The reference's, for a PagedBatch. query: [tokens, heads, head_dim], heads dense; cache: contiguous."""
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    folded = scale * math.log2(math.e)
    if batch.singles:
        _launch_decode(query, cache, batch, folded, output)
    if batch.tiles is not None:
        _launch_prompt(query, cache, batch, batch.tiles, folded, output)
    return output


def _launch_decode(query: Tensor, cache: Tensor, batch: PagedBatch, scale: float, output: Tensor) -> None:
    _, heads, head_dim = query.shape
    kv_heads, parts = cache.shape[2], splits(batch.singles, cache.shape[2])
    partial = levels = output
    if parts > 1:
        partial = torch.empty(batch.singles, heads, parts, head_dim, dtype=torch.float32, device=query.device)
        levels = torch.empty(batch.singles, heads, parts, dtype=torch.float32, device=query.device)
    _decode[kv_heads, parts, batch.singles](
        query, cache, output, partial, levels, batch.arrivals, batch.rows, batch.contexts, batch.block_tables,
        batch.block_tables.stride(0), query.stride(0), query.stride(1), scale,
        PAGE=batch.block_size, WINDOW=batch.window or 0, SPLIT=parts > 1,
        **_decode_shape(query.dtype, heads, kv_heads, head_dim), **options(query),
    )  # fmt: skip


@cached
def _decode_shape(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> dict[str, int]:
    """Three programs run at a time, each with 64 KiB of keys and values on their way."""
    group, padded = heads // kv_heads, triton.next_power_of_2(head_dim)
    members = triton.next_power_of_2(group)
    shape = {"KV_HEADS": kv_heads, "GROUP": group, "MEMBERS": members, "HEAD_DIM": head_dim, "D": padded}
    shape |= {"BLOCK_M": max(16, members), "EACH": 16, "CHUNK": max(2, 8192 // (members * padded))}
    if dtype == torch.float32:
        return shape | {"WAYS": 2, "num_warps": 8, "num_stages": 2 if padded <= 128 else 1}
    return shape | {"WAYS": 4, "num_warps": 4, "num_stages": 3 if padded <= 128 else 2}


def _launch_prompt(
    query: Tensor, cache: Tensor, batch: PagedBatch, tiles: Tensor, scale: float, output: Tensor
) -> None:
    _, heads, head_dim = query.shape
    shape = _prompt_shape(query.dtype, heads, cache.shape[2], head_dim, batch.tile_queries)
    _prompt[heads // shape["PACK"], len(tiles)](
        query, cache, output, tiles, batch.rows, batch.starts, batch.counts, batch.contexts, batch.block_tables,
        batch.block_tables.stride(0), query.stride(0), query.stride(1), scale,
        PAGE=batch.block_size, WINDOW=batch.window or 0, **shape, **options(query),
    )  # fmt: skip


@cached
def _prompt_shape(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int, queries: int) -> dict[str, int]:
    """Two programs share a multiprocessor, if they keep to half of its registers: one multiplies, one weighs."""
    group, padded = heads // kv_heads, triton.next_power_of_2(head_dim)
    fitting = max(tile_lines(dtype) // queries, 1)
    pack = next(heads for heads in range(min(fitting, group), 0, -1) if group % heads == 0)
    shape = {"KV_HEADS": kv_heads, "GROUP": group, "PACK": pack, "QUERIES": queries, "HEAD_DIM": head_dim, "D": padded}
    shape |= {"BLOCK_M": max(16, triton.next_power_of_2(queries * pack)), "num_warps": 8, "num_stages": 2}
    shape["BLOCK_N"] = max(16, min(64, 16384 // (padded * dtype.itemsize)))
    return shape | {"maxnreg": 128} if dtype.itemsize == 2 and padded <= 128 else shape
