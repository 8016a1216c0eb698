"""Attention over the paged cache on a GPU: decode rows split over their context, prompt chunks in tiles of queries.

A kernel takes heads that share keys and values as lines of one product, so that the cache is read once for all of
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
from chorus_kernels.paged_attention.paged import PagedBatch, splits, tile_lines

LOWEST = tl.constexpr(-3.0e38)  # a maximum of nothing that stays finite, so that -inf scores give 0 and never NaN


@triton.jit
def _blocks(table, first, context, PAGE: tl.constexpr, BLOCK_N: tl.constexpr):
    """The cache blocks of keys first ... first + BLOCK_N - 1, read a tile ahead so that loads can run tiles ahead."""
    positions = first + tl.arange(0, BLOCK_N)
    return tl.load(table + positions // PAGE, mask=positions < context, other=0)


@triton.jit
def _slots(blocks, first, PAGE: tl.constexpr, BLOCK_N: tl.constexpr):
    return blocks.to(tl.int64) * PAGE + (first + tl.arange(0, BLOCK_N)) % PAGE


@triton.jit
def _tile(
    cache, slots, first, context,
    SLOT: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Keys, or values, first ... first + BLOCK_N - 1 of one head: [BLOCK_N, D]; zero past the context."""
    dims = tl.arange(0, D)
    present = (first + tl.arange(0, BLOCK_N) < context)[:, None] & (dims < HEAD_DIM)[None, :]
    return tl.load(cache + slots[:, None] * SLOT + dims[None, :], mask=present, other=0.0)


@triton.jit
def _visible(scores, first, reach, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """Scores of keys first ... first + BLOCK_N - 1; those that the queries at positions `reach` do not see are -inf."""
    positions = first + tl.arange(0, BLOCK_N)
    visible = positions[None, :] <= reach[:, None]
    if WINDOW:
        visible = visible & (positions[None, :] > reach[:, None] - WINDOW)
    return tl.where(visible, scores, float("-inf"))


@triton.jit
def _weigh(scores, value, scale, peak, total, mean):
    """The running softmax with one tile more: its maximum, the sum of its weights, and the weighted sum of values."""
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    weights = tl.exp2(scores * scale - higher[:, None])
    fade = tl.exp2(peak - higher)
    total = total * fade + tl.sum(weights, 1)
    mean = tl.dot(weights.to(value.dtype), value, mean * fade[:, None], input_precision="ieee")
    return higher, total, mean


@triton.jit
def _prefetch(cache, slots, SLOT: tl.constexpr, HEAD_BYTES: tl.constexpr, BLOCK_N: tl.constexpr):
    """Asks the level 2 cache for keys and values that no kernel of this step writes, or only for a single token."""
    LINES: tl.constexpr = triton.next_power_of_2(HEAD_BYTES // 128)
    line = tl.arange(0, 2 * LINES)
    address = cache.to(tl.int64) + slots * (SLOT * 2)
    places = address[:, None] + ((line // LINES) * SLOT + line % LINES * 128)[None, :]
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.b32 $0, 0;", "=r,l", [places], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit(do_not_specialize=["table_stride"])
def _decode(
    query, cache, output, partial, levels, arrivals, rows, contexts, tables, table_stride, token_stride, head_stride,
    scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr, CHUNK: tl.constexpr,
    MEMBERS: tl.constexpr, PREFETCH: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """output[i] = softmax(scale * q[i] · k) · v for one group of heads, over a part of sequence i's context.

    The program that ends last of a context's parts combines their results, in the order of the parts.
    """
    SLOT: tl.constexpr = 2 * KV_HEADS * HEAD_DIM
    kv_head, split, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    context = tl.load(contexts + sequence)
    table = tables + tl.load(rows + sequence).to(tl.int64) * table_stride
    keys = cache + kv_head * HEAD_DIM
    begin = 0
    if WINDOW:
        begin = tl.maximum(context - WINDOW, 0) // BLOCK_N
    tiles = tl.cdiv(context, BLOCK_N) - begin
    each = tl.maximum(tl.cdiv(tiles, tl.num_programs(1)), 1)  # tiles of each part
    active = tl.cdiv(tiles, each)  # parts that have any
    first = (begin + split * each) * BLOCK_N
    blocks = _blocks(table, first, context, PAGE, BLOCK_N)
    if PREFETCH and PDL:  # noqa: SIM102 - decided by the compiler, the next one by the program
        if split < active:
            _prefetch(keys, _slots(blocks, first, PAGE, BLOCK_N), SLOT, HEAD_DIM * 2, BLOCK_N)
            for tile in tl.static_range(1, PREFETCH):
                if tile < each:
                    later = _blocks(table, first + tile * BLOCK_N, context, PAGE, BLOCK_N)
                    _prefetch(keys, _slots(later, first, PAGE, BLOCK_N), SLOT, HEAD_DIM * 2, BLOCK_N)
    wait(PDL)
    if split < active:
        lines, dims = tl.arange(0, BLOCK_M), tl.arange(0, D)
        inside = (lines < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
        heads = kv_head * GROUP + lines
        q = tl.load(
            query + sequence.to(tl.int64) * token_stride + heads[:, None] * head_stride + dims[None, :],
            mask=inside, other=0.0,
        )  # fmt: skip
        reach = tl.zeros([BLOCK_M], tl.int32) + (context - 1)
        peak = tl.full([BLOCK_M], LOWEST, tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        mean = tl.zeros([BLOCK_M, D], tl.float32)
        for start in tl.range(first, tl.minimum(first + each * BLOCK_N, context), BLOCK_N):
            slots = _slots(blocks, start, PAGE, BLOCK_N)
            blocks = _blocks(table, start + BLOCK_N, context, PAGE, BLOCK_N)
            key = _tile(keys, slots, start, context, SLOT, HEAD_DIM, D, BLOCK_N)
            value = _tile(keys + KV_HEADS * HEAD_DIM, slots, start, context, SLOT, HEAD_DIM, D, BLOCK_N)
            scores = _visible(tl.dot(q, tl.trans(key), input_precision="ieee"), start, reach, WINDOW, BLOCK_N)
            peak, total, mean = _weigh(scores, value, scale, peak, total, mean)
        trigger(PDL)
        mean = mean * (1.0 / total)[:, None]
        head = sequence.to(tl.int64) * KV_HEADS * GROUP + heads  # [BLOCK_M], of the batch
        if not SPLIT or active == 1:
            tl.store(output + head[:, None] * HEAD_DIM + dims[None, :], mean, mask=inside)
        else:
            part = head * tl.num_programs(1) + split
            tl.store(partial + part[:, None] * HEAD_DIM + dims[None, :], mean, mask=inside)
            tl.store(levels + part, peak + tl.log2(total), mask=lines < GROUP)
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


@triton.jit(do_not_specialize=["table_stride"])
def _prompt(
    query, cache, output, tiles, rows, starts, counts, contexts, tables, table_stride, token_stride, head_stride, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, QUERIES: tl.constexpr, HEAD_DIM: tl.constexpr,
    D: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """output[t] = softmax(scale * q[t] · k) · v for QUERIES tokens of one sequence and PACK heads of one group.

    The scores of the next tile of keys are computed while this one's go through softmax (FlashAttention 3).
    """
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
        begin, all_begin = 0, 0  # the keys that any query sees, those that all see
        if WINDOW:
            begin = tl.maximum(nearest - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
            all_begin = tl.maximum(farthest - WINDOW + 1, 0)

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
        slots = _slots(_blocks(table, begin, context, PAGE, BLOCK_N), begin, PAGE, BLOCK_N)
        blocks = _blocks(table, begin + BLOCK_N, context, PAGE, BLOCK_N)
        key = _tile(keys, slots, begin, context, SLOT, HEAD_DIM, D, BLOCK_N)
        scores = tl.dot(q, tl.trans(key), input_precision="ieee")
        for start in tl.range(begin, farthest + 1, BLOCK_N):
            later = _slots(blocks, start + BLOCK_N, PAGE, BLOCK_N)
            blocks = _blocks(table, start + 2 * BLOCK_N, context, PAGE, BLOCK_N)
            key = _tile(keys, later, start + BLOCK_N, context, SLOT, HEAD_DIM, D, BLOCK_N)
            later_scores = tl.dot(q, tl.trans(key), input_precision="ieee")
            if start + BLOCK_N > nearest + 1 or start < all_begin:
                scores = _visible(scores, start, reach, WINDOW, BLOCK_N)
            value = _tile(keys + KV_HEADS * HEAD_DIM, slots, start, context, SLOT, HEAD_DIM, D, BLOCK_N)
            peak, total, mean = _weigh(scores, value, scale, peak, total, mean)
            slots, scores = later, later_scores
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


def _keys(query: Tensor, padded: int) -> int:
    """Keys of a tile: 16 KiB of them, and as many of values."""
    return max(16, min(64, 16384 // (padded * query.element_size())))


def _launch_decode(query: Tensor, cache: Tensor, batch: PagedBatch, scale: float, output: Tensor) -> None:
    _, heads, head_dim = query.shape
    kv_heads, parts = cache.shape[2], splits(batch.singles, cache.shape[2])
    padded, members = triton.next_power_of_2(head_dim), triton.next_power_of_2(heads // kv_heads)
    partial = levels = output
    if parts > 1:
        partial = torch.empty(batch.singles, heads, parts, head_dim, dtype=torch.float32, device=query.device)
        levels = torch.empty(batch.singles, heads, parts, dtype=torch.float32, device=query.device)
    _decode[kv_heads, parts, batch.singles](
        query, cache, output, partial, levels, batch.arrivals, batch.rows, batch.contexts, batch.block_tables,
        batch.block_tables.stride(0), query.stride(0), query.stride(1), scale,
        KV_HEADS=kv_heads, GROUP=heads // kv_heads, HEAD_DIM=head_dim, D=padded, PAGE=batch.block_size,
        WINDOW=batch.window or 0, BLOCK_M=max(16, members), BLOCK_N=_keys(query, padded), SPLIT=parts > 1,
        CHUNK=max(2, 4096 // (members * padded)), MEMBERS=members, PREFETCH=1 if query.element_size() == 2 else 0,
        num_warps=4, num_stages=2, **options(query),
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
        BLOCK_N=_keys(query, padded), num_warps=8, num_stages=3,
        **options(query),
    )  # fmt: skip
