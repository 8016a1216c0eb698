"""Rotary position embedding, fused with the write of keys and values into the paged cache."""

from torch import Tensor

from chorus_kernels.rotary import reference
from chorus_kernels.rotary.reference import rotation_table

__all__ = ["rotary_store", "rotation_table"]


def rotary_store(
    qkv: Tensor,
    rotation: Tensor,
    slots: Tensor,
    cache: Tensor,
    *,
    delta: Tensor | None = None,
    qk_norm: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """Rotates query and key, writes key and value to the cache, returns the query: a part of qkv, changed in place.

    qkv: [tokens, heads + 2 * kv_heads, head_dim], contiguous tokens, query before key before value; what it holds of
    key and value afterwards is undefined
    rotation: [tokens, 2, head_dim], rows of `rotation_table` at the tokens' positions
    slots: [tokens] int64, block * block_size + offset of each token; one below 0 is not stored
    cache: [slots, 2, kv_heads, head_dim], key before value
    delta: like qkv, added to it first
    qk_norm, eps: [heads + kv_heads, head_dim], weights of a root-mean-square norm of each head, before the rotation
    """
    if qkv.is_cuda:
        from chorus_kernels.rotary import triton as gpu

        return gpu.rotary_store(qkv, rotation, slots, cache, delta=delta, qk_norm=qk_norm, eps=eps)
    return reference.rotary_store(qkv, rotation, slots, cache, delta=delta, qk_norm=qk_norm, eps=eps)
