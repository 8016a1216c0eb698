"""Rows whose output is bound by a constraint: who follows their tokens, and the masks of a step."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import EngineError
from chorus_engine.core.plan import Admission
from chorus_engine.runner.transfer import upload

Words = NDArray[np.int32]
Bound = Sequence[tuple[int, "BoundRow"]]  # (row of the draw, its constraint's state)


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

    def fill(self, matchers: Sequence[tuple[Matcher, int]], masks: Words) -> None:
        """Writes each matcher's mask into its row of `masks`, [rows, words], as `chorus_kernels.token_mask` reads them.

        Never raises: a matcher that cannot go on has an error from then on.
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
        if not self._rows:
            return ()
        return [(place, self._rows[row]) for place, row in enumerate(rows) if row in self._rows]

    def masks(self, bound: Bound, positions: Sequence[int]) -> Tensor:
        """[bound rows, words] int32 on the device. positions: of the tokens to be drawn, by row of the draw."""
        assert self._source is not None
        pinned = self._device.type == "cuda"
        masks = torch.full((len(bound), self._words), -1, dtype=torch.int32, pin_memory=pinned)
        words = masks.numpy()
        self._source.fill([(row.matcher, index) for index, (_, row) in enumerate(bound) if row.live], words)
        for index, (place, row) in enumerate(bound):
            row.narrow(words[index], positions[place])
        return masks.to(self._device, non_blocking=True)  # torch keeps pinned memory until it was read

    def blank(self, rows: int) -> Tensor:
        """Masks that allow everything."""
        return upload(torch.full((rows, self._words), -1, dtype=torch.int32), device=self._device)
