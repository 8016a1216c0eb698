import torch
import torch.nn.functional as F
from torch import Tensor


def rotation_table(inv_freq: Tensor, positions: int, dtype: torch.dtype) -> Tensor:
    """cos and sin by position, as `rotary_store` takes them.

    inv_freq: [head_dim / 2], float32. The result is [positions, 2, head_dim]: cos twice, then -sin and sin, so that
    rotating is x * cos + swap_halves(x) * sin.
    """
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), inv_freq.float().cpu())
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1).to(dtype)


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
    """Rotates query and key, writes key and value to the cache, returns the query."""
    heads, head_dim = qkv.shape[1] - 2 * cache.shape[2], qkv.shape[2]
    if delta is not None:
        qkv += delta
    rotated = qkv[:, : heads + cache.shape[2]]  # [tokens, heads + kv_heads, head_dim]
    if qk_norm is not None:
        rotated.copy_(F.rms_norm(rotated, (head_dim,), None, eps) * qk_norm)
    swapped = rotated.roll(head_dim // 2, -1)
    rotated.mul_(rotation[:, :1]).addcmul_(swapped, rotation[:, 1:])
    stored = qkv[:, heads:].flatten(1)
    if len(slots) and slots.min().item() < 0:
        slots, stored = slots[slots >= 0], stored[slots >= 0]
    cache.flatten(1).index_copy_(0, slots, stored)
    return qkv[:, :heads]
