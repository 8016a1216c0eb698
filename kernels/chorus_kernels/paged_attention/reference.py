from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from chorus_kernels.paged_attention.batch import AttentionBatch


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """Rows of one token, padded to the longest of them."""

    count: int
    blocks: Tensor  # [count * blocks] int64
    visible: Tensor  # [count, 1, 1, blocks * block_size] bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Several tokens of one row."""

    start: int  # first of its tokens in the step
    count: int
    context: int
    blocks: Tensor  # [blocks] int64
    visible: Tensor | None  # [count, context] bool; None is causal from position 0


@dataclass(frozen=True, slots=True)
class Prepared:
    block_size: int
    decode: DecodeRows | None
    chunks: tuple[Chunk, ...]


def prepare(batch: AttentionBatch) -> Prepared:
    """What the layers share: which blocks to gather and which positions each query sees."""
    decode = next((i for i, count in enumerate(batch.counts) if count > 1), len(batch.counts))
    chunks, start = [], decode
    for row in range(decode, len(batch.counts)):
        chunks.append(_chunk(batch, row, start))
        start += batch.counts[row]
    return Prepared(batch.block_size, _decode_rows(batch, decode) if decode else None, tuple(chunks))


def _decode_rows(batch: AttentionBatch, count: int) -> DecodeRows:
    device = batch.block_tables.device
    contexts = torch.tensor(batch.contexts[:count], device=device)[:, None]  # [count, 1]
    blocks = -(-max(batch.contexts[:count]) // batch.block_size)
    keys = torch.arange(blocks * batch.block_size, device=device)
    visible = keys < contexts  # [count, keys]
    if batch.window is not None:
        visible &= keys >= contexts - batch.window
    return DecodeRows(count, batch.block_tables[:count, :blocks].flatten(), visible[:, None, None, :])


def _chunk(batch: AttentionBatch, row: int, start: int) -> Chunk:
    count, context = batch.counts[row], batch.contexts[row]
    blocks = batch.block_tables[row, : -(-context // batch.block_size)]
    if count == context and (batch.window is None or context <= batch.window):
        return Chunk(start, count, context, blocks, None)
    queries = torch.arange(context - count, context, device=blocks.device)[:, None]
    keys = torch.arange(context, device=blocks.device)
    visible = keys <= queries  # [count, context]
    if batch.window is not None:
        visible &= keys > queries - batch.window
    return Chunk(start, count, context, blocks, visible)


def paged_attention(query: Tensor, cache: Tensor, prepared: Prepared, scale: float) -> Tensor:
    """softmax(scale * q · k) · v for each query over the visible positions of its own row.

    query: [tokens, heads, head_dim]; head h reads key-value head h // (heads / kv_heads)
    cache: [slots, 2, kv_heads, head_dim]
    The result is [tokens, heads, head_dim].
    """
    pages = cache.view(-1, prepared.block_size * cache[0].numel())  # [blocks, values of a block]
    if prepared.decode is not None and not prepared.chunks:
        return _attend_decode(query, pages, cache.shape, prepared.decode, scale)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    if prepared.decode is not None:
        rows = prepared.decode
        output[: rows.count] = _attend_decode(query[: rows.count], pages, cache.shape, rows, scale)
    for chunk in prepared.chunks:
        tokens = slice(chunk.start, chunk.start + chunk.count)
        output[tokens] = _attend_chunk(query[tokens], pages, cache.shape, chunk, scale)
    return output


def _attend_decode(query: Tensor, pages: Tensor, shape: torch.Size, rows: DecodeRows, scale: float) -> Tensor:
    _, _, kv_heads, head_dim = shape
    cached = pages.index_select(0, rows.blocks).view(rows.count, -1, 2, kv_heads, head_dim)
    key, value = cached.permute(2, 0, 3, 1, 4)  # [rows, kv_heads, keys, head_dim] each
    grouped = query.reshape(rows.count, kv_heads, -1, head_dim)  # the heads of a group as its queries
    output = F.scaled_dot_product_attention(grouped, key, value, attn_mask=rows.visible, scale=scale)
    return output.reshape(rows.count, -1, head_dim)


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
