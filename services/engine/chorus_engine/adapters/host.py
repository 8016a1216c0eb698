"""An adapter as it arrives and as the runner takes it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.core.spec import OUTER_LAYER, AdapterFootprint, LinearModule, ModelSpec

Key = tuple[int, str]  # (layer or OUTER_LAYER, module path)
Pairs = Mapping[Key, tuple[Tensor, Tensor]]  # A [rank, in] and B [rank, out]

CONFIG_FILE = "adapter_config.json"
MODEL_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module's A [rank, inputs] begins among an adapter's values; its B [rank, outputs] follows."""

    begin: int
    rank: int
    inputs: int
    outputs: int

    @property
    def middle(self) -> int:
        return self.begin + self.rank * self.inputs

    @property
    def end(self) -> int:
        return self.middle + self.rank * self.outputs


def lay_out(footprint: AdapterFootprint, modules: Mapping[Key, LinearModule]) -> dict[Key, Place]:
    """One module after the other, in the footprint's order. The loader writes by it and the runner reads by it."""
    places: dict[Key, Place] = {}
    end = 0
    for layer, path, rank in footprint.ranks:
        module = modules[layer, path]
        place = places[layer, path] = Place(end, rank, module.in_features, module.out_features)
        end = place.end
    return places


def modules_of(spec: ModelSpec) -> dict[Key, LinearModule]:
    inner = {(layer, module.path): module for layer in range(spec.num_layers) for module in spec.modules}
    return inner | {(OUTER_LAYER, module.path): module for module in spec.outer_modules}


@dataclass(frozen=True, slots=True)
class Weights:
    """An adapter's values in one piece, so that one copy brings them to the device, and each module's part of it."""

    packed: Tensor  # [values]; the scale is folded into each B
    places: Mapping[Key, Place]

    @property
    def modules(self) -> Pairs:
        """Views, made as they are asked for: an adapter has hundreds."""
        return _Views(self.packed, self.places)

    def offsets(self, layer: int, path: str) -> tuple[int, int]:
        """Where the module's A and B begin in `packed`."""
        place = self.places[layer, path]
        return place.begin, place.middle

    @property
    def bytes(self) -> int:
        return self.packed.nbytes


class _Views(Mapping[Key, tuple[Tensor, Tensor]]):
    def __init__(self, packed: Tensor, places: Mapping[Key, Place]) -> None:
        self._packed = packed
        self._places = places

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        place = self._places[key]
        a = self._packed[place.begin : place.middle].view(place.rank, place.inputs)
        return a, self._packed[place.middle : place.end].view(place.rank, place.outputs)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def pack(pairs: Pairs, dtype: torch.dtype, *, pinned: bool) -> Weights:
    """Of weights that are in memory already. pinned: page-locked, so that a copy to the device need not wait."""
    places: dict[Key, Place] = {}
    end = 0
    for key, (a, b) in pairs.items():
        place = places[key] = Place(end, len(a), a.shape[1], b.shape[1])
        end = place.end
    weights = Weights(torch.empty(end, dtype=dtype, pin_memory=pinned), places)
    for key, pair in pairs.items():
        for half, value in zip(weights.modules[key], pair, strict=True):
            half.copy_(value)
    return weights


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the store says of a file before its bytes."""

    name: str
    size: int  # bytes
    sha256: str  # hex


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The two files of one generation, as they were uploaded."""

    config: bytes  # adapter_config.json
    model: bytes  # adapter_model.safetensors

    def digest(self) -> str:
        return combine(hashlib.sha256(self.config).digest(), hashlib.sha256(self.model).digest())


def combine(config: bytes, model: bytes) -> str:
    """The name of an adapter's bytes: SHA-256 over the SHA-256 of the one file, then of the other."""
    return hashlib.sha256(config + model).hexdigest()


@dataclass(frozen=True, slots=True)
class HostAdapter:
    digest: str
    footprint: AdapterFootprint
    weights: Weights

    @property
    def bytes(self) -> int:
        return self.weights.bytes
