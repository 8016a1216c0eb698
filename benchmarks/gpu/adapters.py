"""Random adapters in host memory, as the engine keeps those that came from a store.

They are drawn on the device and copied: reading 64 files of 84 MB, hashing and checking them, would take longer than
all rows together.
"""

import torch

from benchmarks.workloads import adapter_digest
from chorus_engine.adapters import HostAdapter
from chorus_engine.adapters.host import Weights, lay_out, modules_of
from chorus_engine.core.spec import OUTER_LAYER, AdapterFootprint, ModelSpec

DEVIATION = 0.01
SCALE = 2.0  # alpha is twice the rank


def random_adapter(index: int, rank: int, spec: ModelSpec, dtype: torch.dtype, device: torch.device) -> HostAdapter:
    """Of one rank on all modules of the layers, in one piece of memory, page-locked where the device is a card."""
    modules = modules_of(spec)
    digest = adapter_digest(index, rank)
    ranks = tuple((layer, path, rank) for layer, path in modules if layer != OUTER_LAYER)
    footprint = AdapterFootprint(digest, ranks)
    places = lay_out(footprint, modules)
    total = max(place.end for place in places.values())
    noise = torch.Generator(device).manual_seed(index)
    drawn = torch.empty(total, dtype=dtype, device=device).normal_(0, DEVIATION, generator=noise)
    for place in places.values():
        drawn[place.middle : place.end] *= SCALE
    host = torch.empty(total, dtype=dtype, pin_memory=device.type == "cuda")
    return HostAdapter(digest, footprint, Weights(host.copy_(drawn), places))
