"""The gated activation between a feed-forward's two products."""

from torch import Tensor

from chorus_kernels.silu_mul import reference

__all__ = ["silu_mul"]


def silu_mul(gate_up: Tensor, delta: Tensor | None = None) -> Tensor:
    """silu(gate) * up, of gate_up + delta.

    gate_up, delta: [tokens, 2 * width], gate before up; the result is [tokens, width].
    """
    if gate_up.is_cuda:
        from chorus_kernels.silu_mul import triton as gpu

        return gpu.silu_mul(gate_up, delta)
    return reference.silu_mul(gate_up, delta)
