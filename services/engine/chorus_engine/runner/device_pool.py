"""Adapters on CUDA: pages of rank rows in one allocation, filled on a stream of their own while steps run."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from chorus_engine.core.plan import ModulePages, SlotLoad
from chorus_engine.core.spec import OUTER_LAYER, Capacity, LinearModule
from chorus_engine.model.lora import Product, Site
from chorus_engine.runner.adapters import OUTER_SITES, AdapterSource, AdapterWeights, Place, places, pool_rows
from chorus_engine.runner.streams import Mark, SideStream
from chorus_engine.runner.transfer import upload
from chorus_kernels.embedding_lora import embed_tiles
from chorus_kernels.lora import SitePool, Tiles, lora_delta
from chorus_kernels.scatter import scatter


class DevicePool:
    """Its tables have fixed addresses and the slots in use never change under a step, so graphs may read them."""

    def __init__(
        self,
        sites: Mapping[Site, tuple[LinearModule, ...]],
        layers: int,
        capacity: Capacity,
        source: AdapterSource,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._source = source
        self._page_rows = capacity.adapter_page_rows
        self._max_rank = capacity.max_lora_rank
        self._tables = {
            site: _Tables(len(modules), 1 if site in OUTER_SITES else layers, capacity, device)
            for site, modules in sites.items()
        }
        self._places = {m.path: (site, i) for site, modules in sites.items() for i, m in enumerate(modules)}
        values = sum(
            pool_rows(site, capacity) * (module.in_features + module.out_features)
            for (_, site), modules in places(sites, layers)
            for module in modules
        )
        self._values = torch.zeros(values, dtype=dtype, device=device)
        self._pools: dict[Place, SitePool] = {}
        self._homes: dict[tuple[int, str], tuple[tuple[int, int], tuple[int, int]]] = {}  # A's and B's (offset, width)
        self._lay_out(sites, layers, capacity)
        self._outer: set[int] = set()  # slots whose adapters have modules outside the layers
        self._loads = SideStream(device)
        self._deltas = SideStream(device)
        self._under_way: deque[tuple[int, Mark]] = deque()

    @property
    def bytes(self) -> int:
        return self._values.nbytes

    def load(self, load: SlotLoad) -> None:
        """Begins to copy an adapter into its pages; what the slot held is gone. No step waits for it."""
        weights = self._source.get(load.digest)
        inner = [module for module in load.modules if module.layer != OUTER_LAYER]
        outer = [module for module in load.modules if module.layer == OUTER_LAYER]
        (self._outer.add if outer else self._outer.discard)(load.slot)
        device = self._values.device
        with self._loads.current():
            for site, tables in self._tables.items():
                tables.write(load.slot, [m for m in load.modules if self._places[m.module][0] is site], self._places)
            staged = weights.packed.to(device, non_blocking=True)
            for modules in (inner, outer):  # one launch has as many programs a piece as its longest one needs
                if modules:
                    pieces, longest = self._pieces(modules, weights)
                    scatter(staged, self._values, upload(pieces, device=device), longest)
            self._under_way.append((load.slot, Mark(device)))

    def loaded(self, *, wait: bool) -> tuple[int, ...]:
        """Slots that became ready since the last call. wait: for at least one, if any is under way."""
        if wait and self._under_way:
            self._under_way[0][1].wait()
        ready = []
        while self._under_way and self._under_way[0][1].reached():
            ready.append(self._under_way.popleft()[0])
        return tuple(ready)

    def reaches_outside(self, slots: Iterable[int]) -> bool:
        """Whether an adapter in one of the slots has modules outside the layers."""
        return bool(self._outer) and not self._outer.isdisjoint(slots)

    def step(self, tiles: Tiles, *, beside: bool, outside: bool = False) -> "DeviceLora":
        """beside: compute deltas on a stream of their own while the product runs, as pays with few tokens.

        outside: some adapter has modules outside the layers.
        """
        return DeviceLora(self._pools, tiles, self._max_rank, self._deltas if beside else None, outside=outside)

    def _lay_out(self, sites: Mapping[Site, tuple[LinearModule, ...]], layers: int, capacity: Capacity) -> None:
        """One site after the other: A of all its modules, then B of each."""
        offset = 0
        for (layer, site), modules in places(sites, layers):
            rows, width = pool_rows(site, capacity), modules[0].in_features
            a_offsets = [offset + index * rows * width for index in range(len(modules))]
            middle = offset + len(modules) * rows * width
            b_offsets = [middle + rows * sum(m.out_features for m in modules[:i]) for i in range(len(modules))]
            end = middle + rows * sum(module.out_features for module in modules)
            for module, a, b in zip(modules, a_offsets, b_offsets, strict=True):
                self._homes[layer, module.path] = ((a, width), (b, module.out_features))
            self._pools[layer, site] = SitePool(
                a=self._values[offset:middle].view(len(modules), rows, width),
                b=self._values[middle:end],
                b_offsets=tuple(b - middle for b in b_offsets),
                outs=tuple(module.out_features for module in modules),
                ranks=self._tables[site].ranks[layer],
                pages=self._tables[site].pages[layer],
                page_rows=self._page_rows,
            )
            offset = end

    def _pieces(self, modules: Sequence[ModulePages], weights: AdapterWeights) -> tuple[Tensor, int]:
        """(from, to, length) of every page of the modules, and the greatest length."""
        keys = [(module.layer, module.module) for module in modules]
        halves = np.array(
            [
                (begin, offset, width)
                for key in keys
                for begin, (offset, width) in zip(weights.offsets(*key), self._homes[key], strict=True)
            ],
            dtype=np.int64,
        ).reshape(-1, 3)
        begin, offset, width = halves.T[:, :, None]  # [halves, 1] each
        rank = np.repeat([module.rank for module in modules], 2)[:, None]
        counts = np.repeat([len(module.pages) for module in modules], 2)[:, None]
        index = np.arange(counts.max(initial=1))
        page = np.zeros((len(halves), len(index)), dtype=np.int64)
        page[index < counts] = [page for module in modules for _ in range(2) for page in module.pages]
        rows = np.clip(rank - index * self._page_rows, 0, self._page_rows)
        size = self._page_rows * width
        pieces = np.stack((begin + index * size, offset + page * size, rows * width), axis=-1)[rows > 0]
        return torch.from_numpy(pieces), int(pieces[:, 2].max(initial=1))


class _Tables:
    """Where each slot's rank rows of one site's modules are, for all layers.

    A site outside the layers has one, which its OUTER_LAYER of -1 names as the last.
    """

    def __init__(self, modules: int, layers: int, capacity: Capacity, device: torch.device) -> None:
        pages = -(-capacity.max_lora_rank // capacity.adapter_page_rows)
        slots = max(capacity.max_adapters, 1)
        self.ranks = torch.zeros(layers, slots, modules, dtype=torch.int32, device=device)
        self.pages = torch.zeros(layers, slots, modules, pages, dtype=torch.int32, device=device)

    def write(self, slot: int, modules: Sequence[ModulePages], places: Mapping[str, tuple[Site, int]]) -> None:
        layers, _, count, pages = self.pages.shape
        table = np.zeros((layers, count, pages + 1), dtype=np.int32)
        for module in modules:
            cell = table[module.layer, places[module.module][1]]
            cell[0] = module.rank
            cell[1 : 1 + len(module.pages)] = module.pages
        told = upload(torch.from_numpy(table), device=self.ranks.device)
        self.ranks[:, slot] = told[:, :, 0]
        self.pages[:, slot] = told[:, :, 1:]


class DeviceLora:
    """The adapters of one step's tokens, as the network's layers call them."""

    def __init__(
        self,
        pools: Mapping[Place, SitePool],
        tiles: Tiles,
        max_rank: int,
        side: SideStream | None,
        *,
        outside: bool,
    ) -> None:
        self._pools = pools
        self._tiles = tiles
        self._max_rank = max_rank
        self._side = side
        self._outside = outside

    def embed(self, ids: Tensor, x: Tensor) -> None:
        if self._outside:
            embed_tiles(x, ids, self._pools[OUTER_LAYER, Site.EMBEDDING], self._tiles, self._max_rank)

    def apply(self, product: Product, x: Tensor, layer: int, site: Site) -> tuple[Tensor, Tensor | None]:
        pool = self._pools[layer, site]
        if self._side is None:
            return product(x, lora_delta(x, pool, self._tiles, self._max_rank)), None
        with self._side.forked():
            delta = lora_delta(x, pool, self._tiles, self._max_rank)
        y = product(x, beside=True)
        self._side.join()
        return y, delta
