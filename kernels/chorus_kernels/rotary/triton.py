from functools import cache

import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait


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
    tokens, count, head_dim = qkv.shape
    kv_heads = cache.shape[2]
    heads = count - 2 * kv_heads
    block, half, warps = _launch(count, head_dim)
    _rotary_store[(tokens * -(-count // block),)](
        qkv, delta, rotation, slots, cache, qk_norm, eps,
        qkv.stride(0), 0 if delta is None else delta.stride(0), cache.stride(0),
        HEADS=heads, KV_HEADS=kv_heads, HEAD_DIM=head_dim, BLOCK=block, HALF=half,
        num_warps=warps, **options(qkv, tokens)
    )  # fmt: skip
    return qkv[:, :heads]


@cache  # Triton's own arithmetic takes microseconds
def _launch(count: int, head_dim: int) -> tuple[int, int, int]:
    """Heads a program, a half's block, warps: 2048 values a program, since fewer are not faster at one token."""
    half = triton.next_power_of_2(head_dim // 2)
    block = min(max(1024 // half, 1), triton.next_power_of_2(count))
    return block, half, max(block * half // 256, 1)


@triton.jit
def _rotary_store(
    qkv, delta, rotation, slots, cache, qk_norm, eps, stride, delta_stride, cache_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, HALF: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """query = rotate(query), cache[slot] = rotate(key), value; a program some heads of a token, as their two halves."""
    ROTATED: tl.constexpr = HEADS + KV_HEADS
    COUNT: tl.constexpr = HEADS + 2 * KV_HEADS
    PARTS: tl.constexpr = (COUNT + BLOCK - 1) // BLOCK
    token = (tl.program_id(0) // PARTS).to(tl.int64)
    head = tl.program_id(0) % PARTS * BLOCK + tl.arange(0, BLOCK)[:, None]  # [heads, 1]
    pair = tl.arange(0, HALF)[None, :]  # [1, half]
    width = pair < HEAD_DIM // 2
    inside = (head < COUNT) & width
    rotates = head < ROTATED
    place = head * HEAD_DIM + pair
    if qk_norm is not None:
        first_scale = tl.load(qk_norm + place, mask=rotates & width, other=0.0).to(tl.float32)
        second_scale = tl.load(qk_norm + place + HEAD_DIM // 2, mask=rotates & width, other=0.0).to(tl.float32)
    trigger(PDL)
    wait(PDL)
    slot = tl.load(slots + token)
    angle = rotation + token * (2 * HEAD_DIM) + pair
    cos = tl.load(angle, mask=width, other=0.0).to(tl.float32)
    sin = tl.load(angle + HEAD_DIM + HEAD_DIM // 2, mask=width, other=0.0).to(tl.float32)
    source = qkv + token * stride + place
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HEAD_DIM // 2, mask=inside, other=0.0).to(tl.float32)
    if delta is not None:
        added = delta + token * delta_stride + place
        first += tl.load(added, mask=inside, other=0.0).to(tl.float32)
        second += tl.load(added + HEAD_DIM // 2, mask=inside, other=0.0).to(tl.float32)
    if qk_norm is not None:
        variance = tl.sum(first * first + second * second, axis=1, keep_dims=True) / HEAD_DIM
        scale = tl.rsqrt(variance + eps)
        first = tl.where(rotates, first * scale * first_scale, first)
        second = tl.where(rotates, second * scale * second_scale, second)
    turned = tl.where(rotates, first * cos - second * sin, first)
    second = tl.where(rotates, second * cos + first * sin, second)
    query = width & (head < HEADS)
    tl.store(source, turned, mask=query)
    tl.store(source + HEAD_DIM // 2, second, mask=query)
    stored = width & (head >= HEADS) & (head < tl.where(slot >= 0, COUNT, 0))
    target = cache + slot * cache_stride + place - HEADS * HEAD_DIM
    tl.store(target, turned, mask=stored)
    tl.store(target + HEAD_DIM // 2, second, mask=stored)
