"""The product with a dense weight: our own for few rows on CUDA, oneDNN's on CPU, else torch's."""

import torch
from torch import Tensor

from chorus_kernels.linear import onednn
from chorus_kernels.linear.reference import linear as reference_linear

__all__ = ["linear", "pack"]


def pack(weight: Tensor) -> Tensor:
    """The weight in the layout that `linear` is fastest with; nothing else can read it. weight: [out, in]."""
    return onednn.pack(weight) if _on_onednn(weight) else weight


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None, *, beside: bool = False
) -> Tensor:
    """x @ weight.T + bias, added to `onto` in place where there is one. The result (or `onto`) is [rows, out].

    x: [rows, in]; weight: [out, in], packed or not; bias: [out]; onto: [rows, out], in x's type.
    beside: on CUDA, leave shared memory to a kernel that runs on another stream meanwhile.
    On CUDA one product runs at a time: those of few rows share counters, which the first of them makes, so a step runs
    once before it is captured.
    """
    if weight.is_cuda:
        from chorus_kernels.linear import triton as gpu

        return gpu.linear(x, weight, bias, onto, beside)
    if weight.is_mkldnn or (len(x) >= onednn.FEWEST_ROWS and _on_onednn(weight)):
        y = onednn.linear(x, weight, bias)
        return y if onto is None else onto.add_(y)
    return reference_linear(x, weight, bias, onto)


def _on_onednn(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype is torch.float32 and onednn.AVAILABLE
