"""The product with a dense weight: torch's own everywhere but on CPU, where oneDNN is faster."""

import torch
from torch import Tensor

from chorus_kernels.linear import onednn
from chorus_kernels.linear.reference import linear as reference_linear

__all__ = ["linear", "pack"]


def pack(weight: Tensor) -> Tensor:
    """The weight in the layout that `linear` is fastest with; nothing else can read it. weight: [out, in]."""
    return onednn.pack(weight) if _on_onednn(weight) else weight


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias. x: [rows, in]; weight: [out, in], packed or not; bias: [out]; the result is [rows, out]."""
    if weight.is_mkldnn or (len(x) >= onednn.FEWEST_ROWS and _on_onednn(weight)):
        return onednn.linear(x, weight, bias)
    return reference_linear(x, weight, bias)


def _on_onednn(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype is torch.float32 and onednn.AVAILABLE
