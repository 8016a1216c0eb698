from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    tokens, hidden = x.shape
    out = torch.empty((tokens, hidden), dtype=x.dtype, device=x.device)
    block, warps = _launch(hidden, tokens <= 512)
    _norm[(tokens,)](
        x, weight, out, eps, x.stride(0), HIDDEN=hidden, BLOCK=block, num_warps=warps, **options(x, tokens)
    )  # fmt: skip
    return out


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
    tokens, hidden = x.shape
    out = torch.empty((tokens, hidden), dtype=x.dtype, device=x.device)
    block, warps = _launch(hidden, tokens <= 512)
    _add_norm[(tokens,)](
        x, delta, residual, weight, out, eps, x.stride(0), residual.stride(0), 0 if delta is None else delta.stride(0),
        HIDDEN=hidden, BLOCK=block, num_warps=warps, **options(x, tokens)
    )  # fmt: skip
    return out


@cache  # Triton's own arithmetic takes microseconds
def _launch(hidden: int, few_tokens: bool) -> tuple[int, int]:
    """Block and warps: one 16-byte access a thread, of 16-bit values; two where many tokens hide their latency."""
    block = triton.next_power_of_2(hidden)
    return block, min(max(block // 256, 1), 16 if few_tokens else 8)


@triton.jit
def _norm(x, weight, out, eps, x_stride, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """out[t] = x[t] / sqrt(mean(x[t]²) + eps) * weight; a program a token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    trigger(PDL)
    wait(PDL)
    value = tl.load(x + token * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    variance = tl.sum(value * value) / HIDDEN
    value = value * tl.rsqrt(variance + eps) * scale
    tl.store(out + token * HIDDEN + column, value, mask=inside)


@triton.jit
def _add_norm(
    x, delta, residual, weight, out, eps, x_stride, residual_stride, delta_stride,
    HIDDEN: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """residual[t] += x[t] + delta[t]; out[t] is the norm of that sum; a program a token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    kept = residual + token * residual_stride + column
    trigger(PDL)
    wait(PDL)
    value = tl.load(kept, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(x + token * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    if delta is not None:
        value += tl.load(delta + token * delta_stride + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(kept, value, mask=inside)
    variance = tl.sum(value * value) / HIDDEN
    value = value * tl.rsqrt(variance + eps) * scale
    tl.store(out + token * HIDDEN + column, value, mask=inside)
