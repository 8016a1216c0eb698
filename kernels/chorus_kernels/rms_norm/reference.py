import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension, in float32, rounded once."""
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
    """residual += x + delta, in place; then the norm of that sum.

    The norm reads the float32 sum, not the residual rounded to 16 bits: the nearer one to the true norm.
    """
    if residual.dtype == torch.float32:
        residual += x
        if delta is not None:
            residual += delta
        return rms_norm(residual, weight, eps)
    total = residual.float() + x
    if delta is not None:
        total += delta
    residual.copy_(total)
    return rms_norm(total, weight.float(), eps).to(residual.dtype)
