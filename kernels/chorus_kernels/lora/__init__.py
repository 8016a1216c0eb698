"""Batched low-rank adapters, on CUDA over a rank-paged pool: true ranks mixed, base tokens untouched."""

from torch import Tensor

from chorus_kernels.lora import reference
from chorus_kernels.lora.reference import Part, lora, prepare
from chorus_kernels.lora.site import Segment, merge
from chorus_kernels.lora.values import SitePool, Tiles

__all__ = ["Part", "Segment", "SitePool", "Tiles", "lora", "lora_delta", "merge", "prepare"]


def lora_delta(x: Tensor, pool: SitePool, tiles: Tiles, max_rank: int) -> Tensor:
    """x[t] @ A.T @ B for each token t with its tile's adapter, the site's modules side by side; base tokens get zeros.

    x: [tokens, in], contiguous; max_rank: at least every rank in the pool; the result: [tokens, sum of outs].
    """
    if x.is_cuda:
        from chorus_kernels.lora import triton as gpu

        return gpu.lora_delta(x, pool, tiles, max_rank)
    return reference.lora_delta(x, pool, tiles, max_rank)
