"""What adapters add to the embeddings of their tokens."""

from collections.abc import Sequence

from torch import Tensor

from chorus_kernels.embedding_lora import reference
from chorus_kernels.lora import Part, SitePool, Tiles

__all__ = ["embed", "embed_tiles"]


def embed(x: Tensor, ids: Tensor, parts: Sequence[Part]) -> None:
    """x[t] += A[:, ids[t]] @ B with the A and B of the part that token t belongs to, in place; other tokens stay.

    x: [tokens, hidden]; ids: [tokens], whole numbers below the vocabulary's size; A: [rank, vocabulary].
    """
    reference.embed(x, ids, parts)


def embed_tiles(x: Tensor, ids: Tensor, pool: SitePool, tiles: Tiles, max_rank: int) -> None:
    """The same with each token's tile's adapter, from a pool with one module, vocabulary in and hidden out.

    x: contiguous; ids: [tokens] int32; max_rank: at least every rank in the pool.
    """
    if x.is_cuda:
        from chorus_kernels.embedding_lora import triton as gpu

        gpu.embed_tiles(x, ids, pool, tiles)
    else:
        reference.embed_tiles(x, ids, pool, tiles, max_rank)
