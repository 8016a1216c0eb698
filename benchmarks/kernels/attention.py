"""Attention over the paged cache: decode rows, and chunks of prompts."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.case import Case, World
from chorus_kernels.paged_attention import (
    AttentionBatch,
    PagedBatch,
    Prepared,
    new_arrivals,
    paged_attention,
    prepare,
    tile_queries,
    tile_table,
)

BLOCK = 16  # tokens
DECODES = ((1, 384), (1, 4096), (32, 384), (32, 2048), (128, 384), (256, 640))  # (rows, context)
PROMPTS = ((1, 2048, 2048), (4, 512, 512), (1, 2048, 8192))  # (rows, tokens, context)


def cases(world: World) -> Iterator[Case]:
    for rows, context in DECODES:
        size = rows * context * 2 * world.cached * world.item
        yield Case("paged_attention", f"{rows} rows at {context}", calls(world, [1] * rows, [context] * rows), size)
    for rows, tokens, context in PROMPTS:
        seen = rows * tokens * (context - (tokens - 1) / 2)  # pairs of query and key
        yield Case(
            "paged_attention",
            f"{rows} × {tokens} at {context}",
            calls(world, [tokens] * rows, [context] * rows),
            flops=4 * seen * world.query,
        )


def calls(world: World, counts: Sequence[int], contexts: Sequence[int]) -> list[partial[Tensor]]:
    """One for each of several caches."""
    blocks = [-(-context // BLOCK) for context in contexts]
    size = sum(blocks) * BLOCK * 2 * world.cached * world.item
    query = world.draw(sum(counts), world.heads, world.head_dim)
    made = []
    for _ in range(world.sets(size)):
        cache = world.draw(sum(blocks) * BLOCK, 2, world.kv_heads, world.head_dim)
        made.append(partial(paged_attention, query, cache, batch(world, counts, contexts), world.head_dim**-0.5))
    return made


def batch(world: World, counts: Sequence[int], contexts: Sequence[int]) -> PagedBatch | Prepared:
    """Blocks are scattered over the cache, as those of an engine that has run for a while."""
    each = -(-max(contexts) // BLOCK)
    table = torch.randperm(each * len(counts)).view(len(counts), each)
    if world.device.type != "cuda":
        return prepare(AttentionBatch(tuple(counts), tuple(contexts), table, BLOCK), world.dtype)
    queries = tile_queries(world.dtype, world.heads // world.kv_heads)
    singles = sum(count == 1 for count in counts)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return PagedBatch(
        rows=world.ints(list(range(len(counts)))),
        starts=world.ints(starts),
        counts=world.ints(counts),
        contexts=world.ints(contexts),
        block_tables=table.to(world.device, torch.int32),
        arrivals=new_arrivals(world.device),
        block_size=BLOCK,
        singles=singles,
        tiles=tile_table(counts, contexts, singles, queries).to(world.device) if singles < len(counts) else None,
        tile_queries=queries,
    )
