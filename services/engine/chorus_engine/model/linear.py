from typing import Protocol

from torch import Tensor

from chorus_engine.model.lora import LoraStep, Site
from chorus_kernels.linear import linear, pack


class Linear(Protocol):
    """One product of a layer with what adapters add to it. Quantized and sharded ones have the same face."""

    def __call__(self, x: Tensor, lora: LoraStep | None) -> tuple[Tensor, Tensor | None]:
        """x: [tokens, in]. The result is y [tokens, out] and, where it was computed beside y, a delta of the same shape
        that whoever reads y must add."""


class DenseLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None, layer: int, site: Site) -> None:
        self._weight = pack(weight)  # [out, in]
        self._bias = bias  # [out]
        self._layer = layer
        self._site = site

    def __call__(self, x: Tensor, lora: LoraStep | None) -> tuple[Tensor, Tensor | None]:
        if lora is None:
            return self._product(x), None
        return lora.apply(self._product, x, self._layer, self._site)

    def _product(self, x: Tensor, onto: Tensor | None = None, *, beside: bool = False) -> Tensor:
        return linear(x, self._weight, self._bias, onto, beside=beside)
