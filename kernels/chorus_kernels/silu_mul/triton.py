import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait


def silu_mul(gate_up: Tensor, delta: Tensor | None = None) -> Tensor:
    tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty((tokens, width), dtype=gate_up.dtype, device=gate_up.device)
    block = _block(tokens)
    _silu_mul[(tokens * -(-width // block),)](
        gate_up, delta, out, gate_up.stride(0), 0 if delta is None else delta.stride(0),
        WIDTH=width, BLOCK=block, num_warps=block // 256, **options(gate_up, tokens)
    )  # fmt: skip
    return out


def _block(tokens: int) -> int:
    """Columns a program: few for few tokens, that every multiprocessor has a part; else few programs to start."""
    return 1024 if tokens <= 64 else 2048


@triton.jit
def _silu_mul(
    gate_up, delta, out, stride, delta_stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr
):  # fmt: skip
    """out[t] = silu(gate[t]) * up[t], of gate_up + delta; a program a part of a token."""
    PARTS: tl.constexpr = (WIDTH + BLOCK - 1) // BLOCK
    token = (tl.program_id(0) // PARTS).to(tl.int64)
    column = tl.program_id(0) % PARTS * BLOCK + tl.arange(0, BLOCK)
    inside = column < WIDTH
    source = gate_up + token * stride + column
    trigger(PDL)
    wait(PDL)
    gate = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(source + WIDTH, mask=inside, other=0.0).to(tl.float32)
    if delta is not None:
        source = delta + token * delta_stride + column
        gate += tl.load(source, mask=inside, other=0.0).to(tl.float32)
        up += tl.load(source + WIDTH, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + token * WIDTH + column, gate / (1 + tl.exp(-gate)) * up, mask=inside)
