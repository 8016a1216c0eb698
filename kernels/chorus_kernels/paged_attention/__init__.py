"""Causal attention of one step over the paged cache: decode rows and prompt chunks mixed, grouped-query heads.

`prepare` is called once a step; what it returns is shared by all layers. On a GPU a `PagedBatch` takes its place.
"""

from torch import Tensor

from chorus_kernels.paged_attention import reference
from chorus_kernels.paged_attention.batch import AttentionBatch
from chorus_kernels.paged_attention.paged import PagedBatch, new_arrivals, tile_queries, tile_table
from chorus_kernels.paged_attention.reference import Prepared, prepare

__all__ = [
    "AttentionBatch",
    "PagedBatch",
    "Prepared",
    "new_arrivals",
    "paged_attention",
    "prepare",
    "tile_queries",
    "tile_table",
]


def paged_attention(query: Tensor, cache: Tensor, batch: Prepared | PagedBatch, scale: float) -> Tensor:
    """softmax(scale * q · k) · v for each query over the visible positions of its own row.

    query: [tokens, heads, head_dim]; head h reads key-value head h // (heads / kv_heads). Tokens may be apart.
    cache: [slots, 2, kv_heads, head_dim]
    The result is [tokens, heads, head_dim], contiguous; rows of padding are left undefined.
    """
    if isinstance(batch, PagedBatch):
        from chorus_kernels.paged_attention import triton as gpu

        return gpu.paged_attention(query, cache, batch, scale)
    return reference.paged_attention(query, cache, batch, scale)
