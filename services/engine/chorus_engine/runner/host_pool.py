"""Adapters on the CPU: pages by rank, gathered once a load for products of the true ranks."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import OUTER_LAYER, Capacity, LinearModule
from chorus_engine.model.lora import Product, Site
from chorus_engine.runner.adapters import AdapterSource, Place, places, pool_rows
from chorus_kernels.embedding_lora import embed
from chorus_kernels.lora import Part, Segment, lora, prepare
from chorus_kernels.lora import Site as PoolSite


class HostPool:
    """Per layer and module one tensor of rank rows for A and one for B; the scheduler hands out their pages."""

    def __init__(
        self,
        sites: Mapping[Site, tuple[LinearModule, ...]],
        layers: int,
        capacity: Capacity,
        host: AdapterSource,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._host = host
        self._sites = {
            place: _site(modules, capacity, pool_rows(place[1], capacity), dtype, device)
            for place, modules in places(sites, layers)
        }
        self._places = {m.path: (site, i) for site, modules in sites.items() for i, m in enumerate(modules)}
        self._gathered: dict[int, dict[Place, tuple[Tensor, Tensor]]] = {}  # by slot
        self._step: PoolStep | None = None
        self._loaded: list[int] = []

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for site in self._sites.values() for tensor in (*site.a, *site.b))

    def load(self, load: SlotLoad) -> None:
        """Copies an adapter into its pages; what the slot held is gone. Ready when it returns."""
        weights = self._host.get(load.digest).modules
        for site in self._sites.values():
            site.ranks[load.slot] = 0
        for module in load.modules:
            name, index = self._places[module.module]
            site = self._sites[module.layer, name]
            site.ranks.numpy()[load.slot, index] = module.rank
            site.pages.numpy()[load.slot, index, : len(module.pages)] = module.pages
            a, b = weights[module.layer, module.module]
            rows = site.rows(load.slot, index)
            site.a[index].index_copy_(0, rows, a.to(site.a[index].dtype))
            site.b[index].index_copy_(0, rows, b.to(site.b[index].dtype))
        self._gathered.pop(load.slot, None)
        self._step = None
        self._loaded.append(load.slot)

    def loaded(self, *, wait: bool) -> tuple[int, ...]:
        """Slots that became ready since the last call."""
        loaded, self._loaded = tuple(self._loaded), []
        return loaded

    def step(self, segments: tuple[Segment, ...]) -> "PoolStep | None":
        """None without segments. The same ones as in the last step, as decoding has them, cost nothing anew."""
        if not segments:
            return None
        if self._step is None or self._step.segments != segments:
            parts = {place: prepare(segments, partial(self._gather, place)) for place in self._sites}
            self._step = PoolStep(segments, parts)
        return self._step

    def _gather(self, place: Place, slot: int) -> tuple[Tensor, Tensor]:
        """Gathered once after a load: a gather a step costs more than the products of a few tokens."""
        gathered = self._gathered.setdefault(slot, {})
        if place not in gathered:
            gathered[place] = self._sites[place].gather(slot)
        return gathered[place]


class PoolStep:
    """The adapters of one step's tokens, as the network's layers call them."""

    def __init__(self, segments: tuple[Segment, ...], parts: Mapping[Place, tuple[Part, ...]]) -> None:
        self.segments = segments
        self._parts = parts

    def apply(self, product: Product, x: Tensor, layer: int, site: Site) -> tuple[Tensor, Tensor | None]:
        y = product(x)
        lora(y, x, self._parts.get((layer, site), ()))
        return y, None

    def embed(self, ids: Tensor, x: Tensor) -> None:
        embed(x, ids, self._parts.get((OUTER_LAYER, Site.EMBEDDING), ()))


def _site(
    modules: tuple[LinearModule, ...], capacity: Capacity, rows: int, dtype: torch.dtype, device: torch.device
) -> PoolSite:
    table = (capacity.max_adapters, len(modules))
    return PoolSite(
        # Rows are written before they are read; until then pages as wide as a vocabulary take no memory.
        a=tuple(torch.empty(rows, module.in_features, dtype=dtype, device=device) for module in modules),
        b=tuple(torch.empty(rows, module.out_features, dtype=dtype, device=device) for module in modules),
        ranks=torch.zeros(table, dtype=torch.int32),
        pages=torch.zeros((*table, rows // capacity.adapter_page_rows), dtype=torch.int32),
        page_rows=capacity.adapter_page_rows,
    )
