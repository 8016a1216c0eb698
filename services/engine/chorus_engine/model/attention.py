from typing import Protocol

import torch
from torch import Tensor

from chorus_kernels.paged_attention import AttentionBatch, Prepared, paged_attention, prepare


class Attention(Protocol):
    """How the queries of one step attend; made once a step, used by every layer."""

    def __call__(self, query: Tensor, cache: Tensor, scale: float) -> Tensor:
        """query: [tokens, heads, head_dim]; cache: [slots, 2, kv_heads, head_dim]; the result is like query."""


class AttentionBackend(Protocol):
    def __call__(self, batch: AttentionBatch, dtype: torch.dtype) -> Attention: ...


class PagedAttention:
    def __init__(self, batch: AttentionBatch, dtype: torch.dtype) -> None:
        self._prepared: Prepared = prepare(batch, dtype)

    def __call__(self, query: Tensor, cache: Tensor, scale: float) -> Tensor:
        return paged_attention(query, cache, self._prepared, scale)
