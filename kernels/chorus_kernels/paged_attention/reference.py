from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from chorus_kernels.paged_attention.batch import AttentionBatch

WORTH_A_CALL = 32  # blocks of padding that cost about as much as gathering and attending once more


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of one token and about the same context, padded to the longest of them."""

    rows: Tensor | None  # [rows] int64; None is all rows of one token
    count: int
    blocks: Tensor  # [count * blocks] int64
    mask: Tensor  # [count, 1, 1, blocks * block_size], 0 where visible, else -inf


@dataclass(frozen=True, slots=True)
class Chunk:
    """Several tokens of one row."""

    tokens: slice  # of the step
    context: int
    blocks: Tensor  # [blocks] int64
    visible: Tensor | None  # [tokens, context] bool; None is causal from position 0


@dataclass(frozen=True, slots=True)
class Prepared:
    block_size: int
    buckets: tuple[Bucket, ...]
    chunks: tuple[Chunk, ...]


def prepare(batch: AttentionBatch, dtype: torch.dtype) -> Prepared:
    """What the layers share: which blocks to gather and which positions each query sees. dtype: the query's."""
    single = next((row for row, count in enumerate(batch.counts) if count > 1), len(batch.counts))
    chunks, start = [], single
    for row in range(single, len(batch.counts)):
        chunks.append(_chunk(batch, row, start))
        start += batch.counts[row]
    groups = _by_context([-(-context // batch.block_size) for context in batch.contexts[:single]])
    buckets = tuple(_bucket(batch, group, dtype, everyone=len(groups) == 1) for group in groups)
    return Prepared(batch.block_size, buckets, tuple(chunks))


def _by_context(blocks: Sequence[int]) -> list[list[int]]:
    """Rows in groups, so that padding each to the longest of its group wastes little. blocks: those of each row."""
    order = sorted(range(len(blocks)), key=blocks.__getitem__)
    groups = []
    while order:
        longest = blocks[order[-1]]
        spared = [(rows + 1) * (longest - blocks[row]) for rows, row in enumerate(order)]  # by a cut behind the row
        cut = spared.index(max(spared)) + 1 if max(spared) > WORTH_A_CALL else 0
        groups.append(order[cut:])
        order = order[:cut]
    return groups


def _bucket(batch: AttentionBatch, group: list[int], dtype: torch.dtype, *, everyone: bool) -> Bucket:
    device = batch.block_tables.device
    contexts = [batch.contexts[row] for row in (range(len(group)) if everyone else group)]
    rows = None if everyone else torch.tensor(group, device=device)
    blocks = -(-max(contexts) // batch.block_size)
    table = batch.block_tables[: len(group), :blocks] if rows is None else batch.block_tables[rows, :blocks]
    ends = torch.tensor(contexts, device=device)[:, None]  # [rows, 1]
    keys = torch.arange(blocks * batch.block_size, device=device)
    hidden = keys >= ends  # [rows, keys]
    if batch.window is not None:
        hidden |= keys < ends - batch.window
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
    return Bucket(rows, len(group), table.flatten(), mask[:, None, None, :])


def _chunk(batch: AttentionBatch, row: int, start: int) -> Chunk:
    count, context = batch.counts[row], batch.contexts[row]
    tokens = slice(start, start + count)
    blocks = batch.block_tables[row, : -(-context // batch.block_size)]
    if count == context and (batch.window is None or context <= batch.window):
        return Chunk(tokens, context, blocks, None)
    queries = torch.arange(context - count, context, device=blocks.device)[:, None]
    keys = torch.arange(context, device=blocks.device)
    visible = keys <= queries  # [count, context]
    if batch.window is not None:
        visible &= keys > queries - batch.window
    return Chunk(tokens, context, blocks, visible)


def paged_attention(query: Tensor, cache: Tensor, prepared: Prepared, scale: float) -> Tensor:
    """softmax(scale * q · k) · v for each query over the visible positions of its own row.

    query: [tokens, heads, head_dim]; head h reads key-value head h // (heads / kv_heads)
    cache: [slots, 2, kv_heads, head_dim]
    The result is [tokens, heads, head_dim].
    """
    pages = cache.view(-1, prepared.block_size * cache[0].numel())  # [blocks, values of a block]
    if len(prepared.buckets) == 1 and not prepared.chunks:
        return _attend_bucket(query, pages, cache.shape, prepared.buckets[0], scale)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for bucket in prepared.buckets:
        if bucket.rows is None:
            output[: bucket.count] = _attend_bucket(query[: bucket.count], pages, cache.shape, bucket, scale)
        else:
            rows = query.index_select(0, bucket.rows)
            output.index_copy_(0, bucket.rows, _attend_bucket(rows, pages, cache.shape, bucket, scale))
    for chunk in prepared.chunks:
        output[chunk.tokens] = _attend_chunk(query[chunk.tokens], pages, cache.shape, chunk, scale)
    return output


def _attend_bucket(query: Tensor, pages: Tensor, shape: torch.Size, bucket: Bucket, scale: float) -> Tensor:
    _, _, kv_heads, head_dim = shape
    cached = pages.index_select(0, bucket.blocks).view(bucket.count, -1, 2, kv_heads, head_dim)
    key, value = cached.permute(2, 0, 3, 1, 4)  # [rows, kv_heads, keys, head_dim] each
    grouped = query.reshape(bucket.count, kv_heads, -1, head_dim)  # the heads of a group as its queries
    output = F.scaled_dot_product_attention(grouped, key, value, attn_mask=bucket.mask, scale=scale)
    return output.reshape(bucket.count, -1, head_dim)


def _attend_chunk(query: Tensor, pages: Tensor, shape: torch.Size, chunk: Chunk, scale: float) -> Tensor:
    _, _, kv_heads, head_dim = shape
    cached = pages.index_select(0, chunk.blocks).view(-1, 2, kv_heads, head_dim)[: chunk.context]
    key, value = cached.permute(1, 2, 0, 3)[:, None]  # [1, kv_heads, context, head_dim] each
    output = F.scaled_dot_product_attention(
        query.transpose(0, 1)[None],  # [1, heads, count, head_dim]
        key,
        value,
        attn_mask=chunk.visible,
        is_causal=chunk.visible is None,
        scale=scale,
        enable_gqa=query.shape[1] != kv_heads,
    )
    return output[0].transpose(0, 1)
