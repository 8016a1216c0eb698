"""Places of one step that are drawn at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from chorus_engine.runner.drafts import nth
from chorus_engine.runner.network import Computed


@dataclass(frozen=True, slots=True)
class Lot:
    """A row has one place, or one more than it has drafts, side by side."""

    logits: Tensor  # [places, vocab], maybe with padding behind; to draw from
    plain: Tensor  # the same without masks
    computed: Computed
    before: Tensor | None  # [places] int64, the token that each comes after; None where no row has drafts
    index: Tensor | None  # [places] int64, the places of the step that these are; None is all of them
    places: Sequence[int]  # likewise
    rows: Sequence[int]  # the engine's
    positions: Sequence[int]  # of the tokens to be drawn

    def part(self, index: Tensor, places: Sequence[int], logits: Tensor, plain: Tensor) -> "Lot":
        """Of a whole step's places: all those of some rows."""
        rows, positions = [self.rows[place] for place in places], [self.positions[place] for place in places]
        before = None if self.before is None else self.before[index]
        return Lot(logits, plain, self.computed, before, index, places, rows, positions)

    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Temperature, seed and position of each place, on the device."""
        computed, index = self.computed, self.index
        if index is None:
            return computed.temperature, computed.seeds, computed.positions
        return computed.temperature[index], computed.seeds[index], computed.positions[index]

    def order(self) -> list[int]:
        """How many places of the same row are before each."""
        return nth(self.rows)
