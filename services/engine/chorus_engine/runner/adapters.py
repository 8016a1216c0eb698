"""Where the runner takes adapters from, and where it keeps them."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from chorus_engine.core.plan import SlotLoad


class AdapterWeights(Protocol):
    """A verified adapter in host memory, pinned where the engine runs on CUDA."""

    @property
    def modules(self) -> Mapping[tuple[int, str], tuple[Tensor, Tensor]]:
        """(layer, module path) → A [rank, in] and B [rank, out], the scale folded into B; all of them in `packed`."""

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
