"""Every row's way of drawing tokens, and one batched draw a step; two where constraints bind some of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.core.plan import Admission, RowStep
from chorus_engine.core.request import SamplingParams
from chorus_engine.runner.bound_rows import Bound, BoundRows, ConstraintSource
from chorus_engine.runner.drawn import Drawn, TopTokens
from chorus_engine.runner.network import Computed
from chorus_engine.runner.rows import GREEDY_BELOW, signed
from chorus_engine.runner.token_history import TokenHistory
from chorus_engine.runner.transfer import upload
from chorus_kernels.sampling import Bias, Penalties, RandomRows, SamplingBatch, draw, sample, top_logprobs
from chorus_kernels.token_mask import allowed


@dataclass(frozen=True, slots=True)
class Lot:
    """Rows that are drawn at once."""

    logits: Tensor  # [rows, vocab], maybe with padding behind; to draw from
    plain: Tensor  # the same without masks
    computed: Computed
    index: Tensor | None  # [rows] int64, the rows of the step that these are; None is all of them
    places: Sequence[int]  # likewise
    rows: Sequence[int]  # the engine's
    positions: Sequence[int]  # of the tokens to be drawn

    def part(self, index: Tensor, places: Sequence[int], logits: Tensor, plain: Tensor) -> "Lot":
        """Of a whole step's rows."""
        rows, positions = [self.rows[place] for place in places], [self.positions[place] for place in places]
        return Lot(logits, plain, self.computed, index, places, rows, positions)

    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Temperature, seed and position of each row, on the device."""
        computed, index = self.computed, self.index
        if index is None:
            return computed.temperature, computed.seeds, computed.positions
        return computed.temperature[index], computed.seeds[index], computed.positions[index]


class Sampler:
    """Rows that no constraint binds are drawn when the step is launched. The others wait for their masks, and those
    for the tokens of the step before, should it not have been read yet: the device computes this step meanwhile."""

    def __init__(
        self, rows: int, vocab: int, device: torch.device, constraints: ConstraintSource | None = None
    ) -> None:
        self._params: list[SamplingParams | None] = [None] * rows
        self._special: set[int] = set()  # rows that need more than a temperature
        self._prompt_len = [0] * rows
        self._history = TokenHistory(rows, vocab, device)
        self._bound = BoundRows(constraints, vocab, device)
        self._late: LateDraw | None = None
        self._vocab = vocab
        self._device = device

    def admit(self, admission: Admission) -> None:
        self._params[admission.row] = admission.sampling
        (self._special.add if _special(admission.sampling) else self._special.discard)(admission.row)
        self._prompt_len[admission.row] = admission.prompt_len
        self._bound.admit(admission)
        if _penalised(admission.sampling):
            self._history.admit(admission)

    def release(self, row: int) -> None:
        self._params[row] = None
        self._bound.release(row)

    def warm_up(self, logits: Tensor) -> None:
        """logits: [rows, vocab] on CUDA."""
        rows = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        draw(logits, rows.float(), rows, rows)
        if self._bound.possible:
            allowed(logits, rows, self._bound.blank(len(rows)))

    def draw(self, logits: Tensor, computed: Computed, steps: Sequence[RowStep]) -> Drawn:
        """logits: [rows of computed, vocab]; steps: the plan's. Padding gets tokens too, which nobody reads."""
        assert self._late is None, "a step is settled before the next is drawn"
        chosen = [steps[index] for index in computed.sampling]
        rows, positions = [step.row for step in chosen], [step.start + step.count for step in chosen]
        lot = Lot(logits, logits, computed, None, range(len(rows)), rows, positions)
        bound = self._bound.among(rows)
        if not bound:
            tokens, top = self._draw(lot)
            drawn = Drawn(tokens, len(rows))
            drawn.add(top)
            drawn.send()
            return drawn
        tokens, top = self._draw_free(lot, bound)
        drawn = Drawn(tokens, len(rows), bound, self._go_on)
        drawn.add(top)
        self._late = LateDraw(lot, bound, drawn)
        self._go_on()
        return drawn

    def settle(self) -> None:
        """All rows of the last step are drawn, even if it takes to wait for the steps before it."""
        if self._late is not None:
            self._late.await_tokens()
            assert self._late is None, "who reads the last token that was missing goes on"

    def _go_on(self) -> None:
        late = self._late
        if late is not None and late.ready:
            self._late = None
            self._draw_bound(late)

    @torch.inference_mode()
    def _draw_bound(self, late: "LateDraw") -> None:
        lot, places = late.lot, [place for place, _ in late.bound]
        masks, index = self._bound.masks(late.bound, lot.positions), self._tensor(places)
        asked = any(self._row(lot.rows[place]).logprobs is not None for place in places)
        logits = allowed(lot.logits, index, masks)
        tokens, top = self._draw(lot.part(index, places, logits, lot.logits[index] if asked else logits))
        late.drawn.tokens.index_copy_(0, index, tokens)
        late.drawn.add(top)
        late.drawn.send()

    def _draw_free(self, lot: Lot, bound: Bound) -> tuple[Tensor, TopTokens | None]:
        """Tokens of the rows that nothing binds, in their places."""
        taken = {place for place, _ in bound}
        places = [place for place in lot.places if place not in taken]
        if places and self._plain([lot.rows[place] for place in places]):
            return draw(lot.logits, *lot.numbers()), None  # the others' too, which are drawn once more
        tokens = torch.zeros(len(lot.logits), dtype=torch.int64, device=self._device)
        if not places:
            return tokens, None
        index = self._tensor(places)
        logits = lot.logits[index]
        drawn, top = self._draw(lot.part(index, places, logits, logits))
        return tokens.index_copy_(0, index, drawn), top

    def _plain(self, rows: Sequence[int]) -> bool:
        return self._device.type == "cuda" and self._special.isdisjoint(rows)

    def _draw(self, lot: Lot) -> tuple[Tensor, TopTokens | None]:
        """Tokens of the lot's rows, and of its padding where they need no more than a temperature."""
        return (draw(lot.logits, *lot.numbers()), None) if self._plain(lot.rows) else self._draw_special(lot)

    def _draw_special(self, lot: Lot) -> tuple[Tensor, TopTokens | None]:
        """With filters, penalties, bias and log probabilities."""
        rows = lot.rows
        params = [self._row(row) for row in rows]
        batch = SamplingBatch(
            penalties=self._penalties(params, rows),
            bias=self._bias(params, rows, lot.positions),
            random=self._random(params, lot.positions),
        )
        tokens = sample(lot.logits[: len(rows)], batch)
        if batch.penalties is not None:
            penalised = batch.penalties.rows
            self._history.count(self._tensor(rows)[penalised], tokens[penalised])
        wanted = [(i, p.logprobs) for i, p in enumerate(params) if p.logprobs is not None]
        if not wanted:
            return tokens, None
        index = self._tensor([i for i, _ in wanted])
        most = min(max(count for _, count in wanted), self._vocab)
        top = top_logprobs(lot.plain[index], tokens[index], most)
        return tokens, TopTokens([(lot.places[i], count) for i, count in wanted], top)

    def _row(self, row: int) -> SamplingParams:
        params = self._params[row]
        assert params is not None, f"row {row} samples but was never admitted"
        return params

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.int64), device=self._device)

    def _floats(self, values: Sequence[float]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.float32), device=self._device)

    def _penalties(self, params: Sequence[SamplingParams], rows: Sequence[int]) -> Penalties | None:
        index = [i for i, p in enumerate(params) if _penalised(p)]
        if not index:
            return None
        chosen = [params[i] for i in index]
        counts, in_prompt = self._history.of(self._tensor([rows[i] for i in index]))
        return Penalties(
            rows=self._tensor(index),
            presence=self._floats([p.presence_penalty for p in chosen]),
            frequency=self._floats([p.frequency_penalty for p in chosen]),
            repetition=self._floats([p.repetition_penalty for p in chosen]),
            output_counts=counts,
            in_prompt=in_prompt,
        )

    def _bias(self, params: Sequence[SamplingParams], rows: Sequence[int], positions: Sequence[int]) -> Bias | None:
        entries: list[tuple[int, int, float]] = []
        for index, (p, row, position) in enumerate(zip(params, rows, positions, strict=True)):
            entries.extend((index, token, value) for token, value in p.logit_bias)
            if position - self._prompt_len[row] < p.min_tokens and p.constraint is None:  # else it is in the mask
                entries.extend((index, token, -torch.inf) for token in p.stop_token_ids)
        if not entries:
            return None
        return Bias(
            rows=self._tensor([row for row, _, _ in entries]),
            tokens=self._tensor([token for _, token, _ in entries]),
            values=self._floats([value for _, _, value in entries]),
        )

    def _random(self, params: Sequence[SamplingParams], positions: Sequence[int]) -> RandomRows | None:
        index = [i for i, p in enumerate(params) if p.temperature >= GREEDY_BELOW]
        if not index:
            return None
        chosen = [params[i] for i in index]
        top_k = [min(p.top_k or self._vocab, self._vocab) for p in chosen]
        largest = max(top_k)
        return RandomRows(
            rows=None if len(index) == len(params) else self._tensor(index),
            temperature=self._floats([p.temperature for p in chosen]),
            seeds=self._tensor([signed(p.seed) for p in chosen]),
            positions=self._tensor([positions[i] for i in index]),
            top_k=self._tensor(top_k) if min(top_k) < self._vocab else None,
            largest_top_k=largest,
            top_p=self._floats([p.top_p for p in chosen]) if any(p.top_p < 1 for p in chosen) else None,
            min_p=self._floats([p.min_p for p in chosen]) if any(p.min_p > 0 for p in chosen) else None,
        )


class LateDraw:
    """The rows of a step that constraints bind, until their masks can be made."""

    def __init__(self, lot: Lot, bound: Bound, drawn: Drawn) -> None:
        self.lot = lot
        self.bound = bound
        self.drawn = drawn

    @property
    def ready(self) -> bool:
        """Whether the matchers have taken every token before those to be drawn."""
        return all(row.unread[0] is self.drawn for _, row in self.bound)

    def await_tokens(self) -> None:
        for _, row in self.bound:
            while row.unread[0] is not self.drawn:
                row.unread[0].read()


def _special(params: SamplingParams) -> bool:
    return (
        _penalised(params)
        or bool(params.logit_bias)
        or params.logprobs is not None
        or bool(params.min_tokens and params.stop_token_ids)
        or (params.temperature >= GREEDY_BELOW and (params.top_k > 0 or params.top_p < 1 or params.min_p > 0))
    )


def _penalised(params: SamplingParams) -> bool:
    return (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) != (0, 0, 1)
