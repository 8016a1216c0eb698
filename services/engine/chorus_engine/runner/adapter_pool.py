"""Adapters in the engine's memory, paged by rank."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import Capacity, LinearModule
from chorus_engine.model.lora import Site
from chorus_kernels.lora import Part, Segment, lora, prepare
from chorus_kernels.lora import Site as PoolSite


class HostWeights(Protocol):
    """Verified adapters in host memory."""

    def get(self, digest: str) -> Mapping[tuple[int, str], tuple[Tensor, Tensor]]:
        """(layer, module path) → A [rank, in] and B [rank, out], the adapter's scale folded into B."""


class AdapterPool:
    """Per layer and module one tensor of rank rows for A and one for B; the scheduler hands out their pages."""

    def __init__(
        self,
        sites: Mapping[Site, tuple[LinearModule, ...]],
        layers: int,
        capacity: Capacity,
        host: HostWeights,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._host = host
        self._sites = {
            (layer, site): _site(modules, capacity, dtype, device)
            for layer in range(layers)
            for site, modules in sites.items()
        }
        self._places = {m.path: (site, i) for site, modules in sites.items() for i, m in enumerate(modules)}
        self._gathered: dict[int, dict[tuple[int, Site], tuple[Tensor, Tensor]]] = {}  # by slot
        self._step: PoolStep | None = None

    def load(self, load: SlotLoad) -> None:
        """Copies an adapter into its pages; what the slot held is gone."""
        weights = self._host.get(load.digest)
        for site in self._sites.values():
            site.ranks[load.slot] = 0
        for module in load.modules:
            name, index = self._places[module.module]
            site = self._sites[module.layer, name]
            site.ranks[load.slot, index] = module.rank
            site.pages[load.slot, index, : len(module.pages)] = torch.tensor(module.pages, dtype=torch.int32)
            a, b = weights[module.layer, module.module]
            rows = site.rows(load.slot, index)
            site.a[index][rows] = a.to(site.a[index])
            site.b[index][rows] = b.to(site.b[index])
        self._gathered.pop(load.slot, None)
        self._step = None

    def step(self, segments: tuple[Segment, ...]) -> "PoolStep":
        """The same segments as in the last step, as decoding has them, cost nothing anew."""
        if self._step is None or self._step.segments != segments:
            parts = {place: prepare(segments, partial(self._gather, place)) for place in self._sites}
            self._step = PoolStep(segments, parts)
        return self._step

    def _gather(self, place: tuple[int, Site], slot: int) -> tuple[Tensor, Tensor]:
        """Gathered once after a load: a gather a step costs more than the products of a few tokens."""
        gathered = self._gathered.setdefault(slot, {})
        if place not in gathered:
            gathered[place] = self._sites[place].gather(slot)
        return gathered[place]


class PoolStep:
    """The adapters of one step's tokens, as the network's layers call them."""

    def __init__(self, segments: tuple[Segment, ...], parts: Mapping[tuple[int, Site], tuple[Part, ...]]) -> None:
        self.segments = segments
        self._parts = parts

    def add(self, y: Tensor, x: Tensor, layer: int, site: Site) -> None:
        lora(y, x, self._parts[layer, site])


def _site(modules: tuple[LinearModule, ...], capacity: Capacity, dtype: torch.dtype, device: torch.device) -> PoolSite:
    rows = capacity.adapter_pages * capacity.adapter_page_rows
    table = (capacity.max_adapters, len(modules))
    return PoolSite(
        a=tuple(torch.zeros(rows, module.in_features, dtype=dtype, device=device) for module in modules),
        b=tuple(torch.zeros(rows, module.out_features, dtype=dtype, device=device) for module in modules),
        ranks=torch.zeros(table, dtype=torch.int32),
        pages=torch.zeros((*table, capacity.adapter_pages), dtype=torch.int32),
        page_rows=capacity.adapter_page_rows,
    )
