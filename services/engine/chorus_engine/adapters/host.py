"""An adapter as it arrives and as the runner takes it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.core.spec import AdapterFootprint

Pairs = Mapping[tuple[int, str], tuple[Tensor, Tensor]]  # (layer, module path) → A [rank, in] and B [rank, out]


@dataclass(frozen=True, slots=True)
class Weights:
    """An adapter's values in one piece, so that one copy brings them to the device, and each module's part of it."""

    packed: Tensor  # [values]
    modules: Pairs  # the scale folded into B

    @property
    def bytes(self) -> int:
        return self.packed.nbytes


def pack(pairs: Pairs, dtype: torch.dtype, *, pinned: bool) -> Weights:
    """pinned: page-locked, so that a copy to the device need not wait."""
    size = sum(a.numel() + b.numel() for a, b in pairs.values())
    packed = torch.empty(size, dtype=dtype, pin_memory=pinned)
    modules, end = {}, 0
    for key, pair in pairs.items():
        views = []
        for half in pair:
            begin, end = end, end + half.numel()
            views.append(packed[begin:end].view(half.shape).copy_(half))
        modules[key] = (views[0], views[1])
    return Weights(packed, modules)


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The two files of one generation, as they were uploaded."""

    config: bytes  # adapter_config.json
    model: bytes  # adapter_model.safetensors

    def digest(self) -> str:
        """The name of these bytes: SHA-256 over the SHA-256 of the one file, then of the other."""
        parts = hashlib.sha256(self.config).digest() + hashlib.sha256(self.model).digest()
        return hashlib.sha256(parts).hexdigest()


@dataclass(frozen=True, slots=True)
class HostAdapter:
    digest: str
    footprint: AdapterFootprint
    weights: Weights

    @property
    def bytes(self) -> int:
        return self.weights.bytes
