"""An adapter as it arrives and as the runner takes it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from chorus_engine.core.spec import AdapterFootprint

# (layer, module path) -> (A [rank, in], B [rank, out] with the scale folded in), in the model's dtype.
Weights = Mapping[tuple[int, str], tuple[Tensor, Tensor]]


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
    bytes: int  # of all weights
