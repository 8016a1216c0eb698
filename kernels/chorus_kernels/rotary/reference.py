import torch
from torch import Tensor


def rotation_table(inv_freq: Tensor, positions: int, dtype: torch.dtype) -> Tensor:
    """cos and sin by position, as `rotary_store` takes them.

    inv_freq: [head_dim / 2], float32. The result is [positions, 2, head_dim]: cos twice, then -sin and sin, so that
    rotating is x * cos + swap_halves(x) * sin.
    """
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), inv_freq.float().cpu())
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1).to(dtype)


def rotary_store(qkv: Tensor, rotation: Tensor, slots: Tensor, cache: Tensor) -> Tensor:
    """Rotates the heads of query and key in place, writes key and value to the cache, returns the query heads.

    qkv: [tokens, heads + 2 * kv_heads, head_dim], contiguous, query before key before value
    rotation: [tokens, 2, head_dim], rows of `rotation_table` at the tokens' positions
    slots: [tokens] int64, block * block_size + offset of each token
    cache: [slots, 2, kv_heads, head_dim], key before value
    """
    heads = qkv.shape[1] - 2 * cache.shape[2]
    rotated = qkv[:, : heads + cache.shape[2]]  # [tokens, heads + kv_heads, head_dim]
    swapped = rotated.roll(rotated.shape[-1] // 2, -1)
    rotated.mul_(rotation[:, :1]).addcmul_(swapped, rotation[:, 1:])
    cache.flatten(1).index_copy_(0, slots, qkv[:, heads:].flatten(1))
    return qkv[:, :heads]
