"""Adapters on the CPU: each copied once, into the shape that the products of its true ranks want."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import OUTER_LAYER, Capacity, LinearModule
from chorus_engine.model.lora import Product, Site
from chorus_engine.runner.adapters import AdapterSource, Place, places, pool_rows
from chorus_kernels.embedding_lora import embed
from chorus_kernels.lora import Part, Segment, lora, merge, prepare


@dataclass(frozen=True, slots=True)
class _Held:
    load: SlotLoad
    sites: Mapping[Place, tuple[Tensor, Tensor]]  # A [rank, in] and B [rank, out] of those that the adapter touches


class HostPool:
    """The scheduler hands out pages, and here they only count: who is given a page owns the memory that it stands for,
    and what its owner before held is freed."""

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
        self._dtype = dtype
        self._sites = dict(places(sites, layers))
        self._places = {
            (place[0], module.path): (place, i)
            for place, modules in self._sites.items()
            for i, module in enumerate(modules)
        }
        rows = {place: pool_rows(place[1], capacity) for place in self._sites}
        self.bytes = sum(
            rows[place] * (module.in_features + module.out_features) * dtype.itemsize
            for place, modules in self._sites.items()
            for module in modules
        )
        torch.empty(self.bytes, dtype=torch.uint8, device=device)  # raises now if there will never be so much
        self._held: dict[int, _Held] = {}  # by slot
        self._owners: dict[tuple[int, str, int], SlotLoad] = {}  # page of a layer's module -> whom it was given to last
        self._step: PoolStep | None = None
        self._loaded: list[int] = []

    def load(self, load: SlotLoad) -> None:
        """Copies an adapter; what the slot held is gone. Ready when it returns."""
        self._free(load)
        weights = self._host.get(load.digest).modules
        touched: dict[Place, list[tuple[Tensor, Tensor]]] = {}
        for module in load.modules:
            place, index = self._places[module.layer, module.module]
            if place not in touched:
                touched[place] = [self._nothing(each) for each in self._sites[place]]
            a, b = weights[module.layer, module.module]
            touched[place][index] = a.to(self._dtype), b.to(self._dtype)
        self._held[load.slot] = _Held(load, {place: merge(modules) for place, modules in touched.items()})
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
            parts = {place: prepare(segments, partial(self._merged, place)) for place in self._sites}
            self._step = PoolStep(segments, parts)
        return self._step

    def _free(self, load: SlotLoad) -> None:
        """What its slot held, and the owners before of its pages."""
        self._held.pop(load.slot, None)
        for module in load.modules:
            for page in module.pages:
                key = (module.layer, module.module, page)
                owner, self._owners[key] = self._owners.get(key), load
                if owner is not None and (held := self._held.get(owner.slot)) is not None and held.load is owner:
                    del self._held[owner.slot]

    def _merged(self, place: Place, slot: int) -> tuple[Tensor, Tensor] | None:
        return self._held[slot].sites.get(place)

    def _nothing(self, module: LinearModule) -> tuple[Tensor, Tensor]:
        """Of a module that an adapter lacks."""
        empty = torch.empty(0, module.in_features + module.out_features, dtype=self._dtype)
        return empty[:, : module.in_features], empty[:, module.in_features :]


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
