"""Random adapters in host memory, as the engine keeps those that came from a store.

They are drawn on the device and copied: reading 64 files of 84 MB, hashing and checking them, would take longer than
all rows together.
"""

import torch

from benchmarks.workloads import adapter_digest
from chorus_engine.adapters import HostAdapter
from chorus_engine.adapters.host import Weights
from chorus_engine.core.spec import AdapterFootprint, ModelSpec

DEVIATION = 0.01
SCALE = 2.0  # alpha is twice the rank


def random_adapter(index: int, rank: int, spec: ModelSpec, dtype: torch.dtype, device: torch.device) -> HostAdapter:
    """Of one rank on all modules. One piece of memory holds it, page-locked where the device is a card."""
    places = [(layer, module) for layer in range(spec.num_layers) for module in spec.modules]
    total = sum(rank * (module.in_features + module.out_features) for _, module in places)
    noise = torch.Generator(device).manual_seed(index)
    drawn = torch.empty(total, dtype=dtype, device=device).normal_(0, DEVIATION, generator=noise)
    host = torch.empty(total, dtype=dtype, pin_memory=device.type == "cuda")
    modules = {}
    start = 0
    for layer, module in places:
        middle = start + rank * module.in_features
        stop = middle + rank * module.out_features
        drawn[middle:stop] *= SCALE
        modules[layer, module.path] = (host[start:middle].view(rank, -1), host[middle:stop].view(rank, -1))
        start = stop
    host.copy_(drawn)
    digest = adapter_digest(index, rank)
    ranks = tuple((layer, module.path, rank) for layer, module in places)
    return HostAdapter(digest, AdapterFootprint(digest, ranks), Weights(host, modules))
