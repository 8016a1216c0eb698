"""Root-mean-square norm, plain and fused with the residual addition before it."""

from torch import Tensor

from chorus_kernels.rms_norm import reference

__all__ = ["add_rms_norm", "rms_norm"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension. x: [tokens, hidden]; weight: [hidden]."""
    if x.is_cuda:
        from chorus_kernels.rms_norm import triton as gpu

        return gpu.rms_norm(x, weight, eps)
    return reference.rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
    """residual += x + delta, in place; then the norm of that sum. x, residual, delta: [tokens, hidden]."""
    if x.is_cuda:
        from chorus_kernels.rms_norm import triton as gpu

        return gpu.add_rms_norm(x, residual, weight, eps, delta)
    return reference.add_rms_norm(x, residual, weight, eps, delta)
