from typing import Protocol

from torch import Tensor

from chorus_engine.model.lora import LoraStep, Site
from chorus_kernels.linear import linear, pack


class Linear(Protocol):
    """One product of a layer with what adapters add to it. Quantized and sharded ones have the same face."""

    def __call__(self, x: Tensor, lora: LoraStep | None) -> Tensor:
        """x: [tokens, in]; the result is [tokens, out]."""


class DenseLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None, layer: int, site: Site) -> None:
        self._weight = pack(weight)  # [out, in]
        self._bias = bias  # [out]
        self._layer = layer
        self._site = site

    def __call__(self, x: Tensor, lora: LoraStep | None) -> Tensor:
        y = linear(x, self._weight, self._bias)
        if lora is not None:
            lora.add(y, x, self._layer, self._site)
        return y
