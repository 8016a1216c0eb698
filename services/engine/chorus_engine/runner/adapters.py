"""Where the runner takes adapters from, and where it keeps them."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from torch import Tensor

from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import OUTER_LAYER, Capacity, LinearModule
from chorus_engine.model.lora import Site

OUTER_SITES = (Site.EMBEDDING, Site.HEAD)
Place = tuple[int, Site]  # (layer or OUTER_LAYER, site)


class AdapterWeights(Protocol):
    """A verified adapter in host memory, pinned where the engine runs on CUDA."""

    @property
    def modules(self) -> Mapping[tuple[int, str], tuple[Tensor, Tensor]]:
        """(layer, module path) → A [rank, in] and B [rank, out], the scale folded into B; all of them in `packed`."""

    def offsets(self, layer: int, path: str) -> tuple[int, int]:
        """Where the module's A and B begin in `packed`, without the cost of a view of either."""

    @property
    def packed(self) -> Tensor:
        """All values of the adapter in one piece: [values]."""


class AdapterSource(Protocol):
    def get(self, digest: str) -> AdapterWeights: ...


class AdapterPool(Protocol):
    @property
    def bytes(self) -> int: ...

    def load(self, load: SlotLoad) -> None:
        """Begins to copy an adapter into its pages; what the slot held is gone."""

    def loaded(self, *, wait: bool) -> tuple[int, ...]:
        """Slots that became ready since the last call. wait: for at least one, if any is under way."""


def places(
    sites: Mapping[Site, tuple[LinearModule, ...]], layers: int
) -> Iterator[tuple[Place, tuple[LinearModule, ...]]]:
    """Every site of every layer with its modules, and the sites that stand outside the layers."""
    for layer in range(layers):
        for site, modules in sites.items():
            if site not in OUTER_SITES:
                yield (layer, site), modules
    for site in OUTER_SITES:
        if site in sites:
            yield (OUTER_LAYER, site), sites[site]


def pool_rows(site: Site, capacity: Capacity) -> int:
    """Rank rows of the pool of each of the site's modules."""
    return (capacity.vocab_pages if site in OUTER_SITES else capacity.adapter_pages) * capacity.adapter_page_rows
