"""Rows whose output is bound by a constraint: who follows their tokens, and the masks of a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import EngineError
from chorus_engine.core.plan import Admission
from chorus_engine.runner.drafts import spans
from chorus_engine.runner.transfer import upload

Words = NDArray[np.int32]


class Matcher(Protocol):
    """Follows one request's output."""

    @property
    def ended(self) -> bool:
        """Nothing may follow."""

    @property
    def error(self) -> EngineError | None:
        """Why it cannot go on."""

    def take(self, token: int) -> None:
        """The next token of the output. Never raises; one that is not allowed is an error."""


class ConstraintSource(Protocol):
    def matcher(self, constraint: Constraint, produced: Sequence[int]) -> Matcher:
        """At the beginning of an output, or past what a request produced before a preemption. Never raises."""

    def fill(self, matchers: Sequence[tuple[Matcher, int, Sequence[int]]], masks: Words) -> None:
        """Writes each matcher's mask into its row of `masks`, [rows, words], as `chorus_kernels.token_mask` reads them.

        With each come drafts: the mask after each of these goes into the rows that follow, as far as it allows them;
        past that, rows stay as they are. Matchers stay where they are. Never raises: a matcher that cannot go on has an
        error from then on.
        """


class BoundRow:
    def __init__(self, matcher: Matcher, stops_from: int, no_stops: Words) -> None:
        self.matcher = matcher
        self.unread: list[Any] = []  # draws of this row whose token the matcher has not taken, oldest first
        self._stops_from = stops_from  # the first position that a stop token may have
        self._no_stops = no_stops  # every token but those

    @property
    def live(self) -> bool:
        return not self.matcher.ended and self.matcher.error is None

    def narrow(self, mask: Words, position: int) -> None:
        """Stop tokens wait for min_tokens, unless the constraint allows nothing else. The token of a row that has
        ended nobody takes, and any will do."""
        if not self.live:
            mask[:] = -1
        elif position < self._stops_from:
            kept = mask & self._no_stops
            if kept.any():
                mask[:] = kept


@dataclass(frozen=True, slots=True)
class BoundPlaces:
    """A row of a draw that a constraint binds."""

    places: range  # of the draw
    row: BoundRow


Bound = Sequence[BoundPlaces]


class BoundRows:
    def __init__(self, source: ConstraintSource | None, vocab: int, device: torch.device) -> None:
        self._source = source
        self._words = -(-vocab // 32)
        self._device = device
        self._rows: dict[int, BoundRow] = {}

    @property
    def possible(self) -> bool:
        return self._source is not None

    def admit(self, admission: Admission) -> None:
        self.release(admission.row)
        sampling, prompt = admission.sampling, admission.prompt_len
        if sampling.constraint is None:
            return
        assert self._source is not None, "requests with constraints are refused where there is no source"
        matcher = self._source.matcher(sampling.constraint, admission.token_ids[prompt:])
        no_stops = np.full(self._words, -1, dtype=np.int32)
        bits = no_stops.view(np.uint32)
        for token in sampling.stop_token_ids:
            bits[token // 32] &= ~np.uint32(1 << token % 32)
        self._rows[admission.row] = BoundRow(matcher, prompt + sampling.min_tokens, no_stops)

    def release(self, row: int) -> None:
        self._rows.pop(row, None)

    def among(self, rows: Sequence[int]) -> Bound:
        """rows: of each place of the draw."""
        if not self._rows:
            return ()
        held = [(places, self._rows.get(rows[places.start])) for places in spans(rows)]
        return [BoundPlaces(places, row) for places, row in held if row is not None]

    def masks(self, bound: Bound, positions: Sequence[int], before: Sequence[int]) -> Tensor:
        """[bound places, words] int32 on the device, for each place of the draw: the position of the token to be drawn,
        and the token that it comes after. before: empty where no row has drafts.
        """
        assert self._source is not None
        pinned = self._device.type == "cuda"
        places = sum(len(each.places) for each in bound)
        masks = torch.full((places, self._words), -1, dtype=torch.int32, pin_memory=pinned)
        words = masks.numpy()
        wanted, first = [], 0
        for each in bound:
            if each.row.live:
                wanted.append((each.row.matcher, first, [before[place] for place in each.places[1:]]))
            first += len(each.places)
        self._source.fill(wanted, words)
        narrowed = ((each.row, place) for each in bound for place in each.places)
        for mask, (row, place) in zip(words, narrowed, strict=True):
            row.narrow(mask, positions[place])
        return masks.to(self._device, non_blocking=True)  # torch keeps pinned memory until it was read

    def blank(self, rows: int) -> Tensor:
        """Masks that allow everything."""
        return upload(torch.full((rows, self._words), -1, dtype=torch.int32), device=self._device)
