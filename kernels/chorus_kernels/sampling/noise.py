"""Noise that is a function of (seed, position, token id) alone.

The hash is integer arithmetic modulo 2³² and 2⁶⁴, so its bits are the same on every device, whatever else is in the
batch.
"""

import torch
from torch import Tensor

_GOLDEN_64 = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_64 = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
_GOLDEN_32 = 0x9E3779B9 - (1 << 32)
_MIX_32 = (0x85EBCA6B - (1 << 32), 0xC2B2AE35 - (1 << 32))
_LARGEST_BELOW_ONE = 1.0 - 2.0**-24


def gumbel(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """Gumbel noise: [rows, vocab] float32. seeds, positions: [rows] int64."""
    bits = hash_bits(seeds, positions, vocab).bitwise_and_(0x7FFFFFFF)
    # Small values keep float32's whole precision: they are the draws that let an unlikely token win.
    uniform = bits.float().add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST_BELOW_ONE)
    exponential = uniform.neg_().log1p_().neg_()
    return exponential.log_().neg_()


def hash_bits(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """32 bits for each (seed, position, token id): [rows, vocab] int32."""
    key = _mix_64(_mix_64(seeds + _GOLDEN_64) + positions * _GOLDEN_64)  # [rows]; 0 is not left at 0
    low, high = key.to(torch.int32)[:, None], (key >> 32).to(torch.int32)[:, None]
    tokens = torch.arange(vocab, dtype=torch.int32, device=seeds.device) * _GOLDEN_32
    return _mix_32(_mix_32(tokens ^ low) ^ high)


def _mix_64(x: Tensor) -> Tensor:
    """splitmix64's finalizer; the shifts are logical."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX_64[0]
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX_64[1]
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _mix_32(x: Tensor) -> Tensor:
    """murmur3's finalizer, in place; the shifts are logical."""
    x ^= (x >> 16) & 0xFFFF
    x *= _MIX_32[0]
    x ^= (x >> 13) & 0x7FFFF
    x *= _MIX_32[1]
    x ^= (x >> 16) & 0xFFFF
    return x
