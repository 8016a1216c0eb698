from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from chorus_engine.model.lora import LoraStep, Site


class Linear(Protocol):
    """One product of a layer with what adapters add to it. Quantized and sharded ones have the same face."""

    def __call__(self, x: Tensor, lora: LoraStep | None) -> Tensor:
        """x: [tokens, in]; the result is [tokens, out]."""


class DenseLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None, layer: int, site: Site) -> None:
        self.weight = weight  # [out, in]
        self.bias = bias  # [out]
        self.layer = layer
        self.site = site

    def __call__(self, x: Tensor, lora: LoraStep | None) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if lora is not None:
            lora.add(y, x, self.layer, self.site)
        return y
