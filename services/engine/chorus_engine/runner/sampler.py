"""One batched draw a step; two where constraints bind some of the rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from chorus_engine.core.plan import Admission, RowStep
from chorus_engine.runner.bound_rows import Bound, BoundRows, ConstraintSource
from chorus_engine.runner.drafts import Verify, agreeing
from chorus_engine.runner.drawn import Drawn, TopTokens
from chorus_engine.runner.lot import Lot
from chorus_engine.runner.network import Computed
from chorus_engine.runner.ways import Ways
from chorus_kernels.sampling import SamplingBatch, draw, sample, top_logprobs
from chorus_kernels.token_mask import allowed


class Sampler:
    """Rows that no constraint binds are drawn when the step is launched. The others wait for their masks, and those
    for the tokens of the step before, should it not have been read yet: the device computes this step meanwhile."""

    def __init__(
        self,
        rows: int,
        vocab: int,
        device: torch.device,
        constraints: ConstraintSource | None = None,
        verify: Verify = agreeing,
    ) -> None:
        self._ways = Ways(rows, vocab, device)
        self._bound = BoundRows(constraints, vocab, device)
        self._verify = verify
        self._late: LateDraw | None = None
        self._vocab = vocab
        self._device = device

    def admit(self, admission: Admission) -> None:
        self._ways.admit(admission)
        self._bound.admit(admission)

    def release(self, row: int) -> None:
        self._ways.release(row)
        self._bound.release(row)

    def warm_up(self, logits: Tensor) -> None:
        """logits: [rows, vocab] on CUDA."""
        rows = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        draw(logits, rows.float(), rows, rows)
        if self._bound.possible:
            allowed(logits, rows, self._bound.blank(len(rows)))

    def draw(self, logits: Tensor, computed: Computed, steps: Sequence[RowStep], before: Tensor | None = None) -> Drawn:
        """logits: [places of computed, vocab]; steps: those that were computed, `singles` where rows have drafts.
        before: [places] int64, the token that each place comes after, if so. Padding gets tokens too, which nobody
        reads.
        """
        assert self._late is None, "a step is settled before the next is drawn"
        chosen = [steps[index] for index in computed.sampling]
        rows, positions = [step.row for step in chosen], [step.start + step.count for step in chosen]
        lot = Lot(logits, logits, computed, before, None, range(len(rows)), rows, positions)
        bound = self._bound.among(rows)
        if not bound:
            tokens, top = self._draw(lot)
            drawn = self._drawn(lot, tokens)
            drawn.add(top)
            drawn.send()
            return drawn
        tokens, top = self._draw_free(lot, bound)
        drawn = self._drawn(lot, tokens, bound)
        drawn.add(top)
        self._late = LateDraw(lot, bound, drawn)
        self._go_on()
        return drawn

    def guess(self, logits: Tensor, computed: Computed, steps: Sequence[RowStep]) -> Tensor:
        """A token a row that samples: from the same logits the one that `draw` takes, unless penalties, a bias or a
        constraint have a say there. Padding may get one too."""
        chosen = [steps[index] for index in computed.sampling]
        rows, positions = [step.row for step in chosen], [step.start + step.count for step in chosen]
        if self._plain(rows):
            return draw(logits, computed.temperature, computed.seeds, computed.positions)
        return sample(logits[: len(rows)], SamplingBatch(random=self._ways.random(rows, positions)))

    def settle(self) -> None:
        """All rows of the last step are drawn, even if it takes to wait for the steps before it."""
        if self._late is not None:
            self._late.await_tokens()
            assert self._late is None, "who reads the last token that was missing goes on"

    def _drawn(self, lot: Lot, tokens: Tensor, bound: Bound = ()) -> Drawn:
        return Drawn(tokens, lot.rows, lot.before, self._verify, bound, self._go_on if bound else None)

    def _go_on(self) -> None:
        late = self._late
        if late is not None and late.ready:
            self._late = None
            self._draw_bound(late)

    @torch.inference_mode()
    def _draw_bound(self, late: "LateDraw") -> None:
        lot, places = late.lot, [place for each in late.bound for place in each.places]
        masks = self._bound.masks(late.bound, lot.positions, late.drawn.before())
        index = self._ways.tensor(places)
        asked = any(self._ways.of(lot.rows[place]).logprobs is not None for place in places)
        logits = allowed(lot.logits, index, masks)
        tokens, top = self._draw(lot.part(index, places, logits, lot.logits[index] if asked else logits))
        late.drawn.tokens.index_copy_(0, index, tokens)
        late.drawn.add(top)
        late.drawn.send()

    def _draw_free(self, lot: Lot, bound: Bound) -> tuple[Tensor, TopTokens | None]:
        """Tokens of the rows that nothing binds, in their places."""
        taken = {place for each in bound for place in each.places}
        places = [place for place in lot.places if place not in taken]
        if places and self._plain([lot.rows[place] for place in places]):
            return draw(lot.logits, *lot.numbers()), None  # the others' too, which are drawn once more
        tokens = torch.zeros(len(lot.logits), dtype=torch.int64, device=self._device)
        if not places:
            return tokens, None
        index = self._ways.tensor(places)
        logits = lot.logits[index]
        drawn, top = self._draw(lot.part(index, places, logits, logits))
        return tokens.index_copy_(0, index, drawn), top

    def _plain(self, rows: Sequence[int]) -> bool:
        return self._device.type == "cuda" and self._ways.plain(rows)

    def _draw(self, lot: Lot) -> tuple[Tensor, TopTokens | None]:
        """Tokens of the lot's places, and of its padding where they need no more than a temperature."""
        return (draw(lot.logits, *lot.numbers()), None) if self._plain(lot.rows) else self._draw_special(lot)

    def _draw_special(self, lot: Lot) -> tuple[Tensor, TopTokens | None]:
        """With filters, penalties, bias and log probabilities."""
        batch = self._ways.batch(lot)
        tokens = sample(lot.logits[: len(lot.rows)], batch)
        if batch.penalties is not None:
            self._ways.count(lot, batch.penalties, tokens)
        asked = [(i, self._ways.of(row).logprobs) for i, row in enumerate(lot.rows)]
        wanted = [(i, count) for i, count in asked if count is not None]
        if not wanted:
            return tokens, None
        index = self._ways.tensor([i for i, _ in wanted])
        most = min(max(count for _, count in wanted), self._vocab)
        top = top_logprobs(lot.plain[index], tokens[index], most)
        return tokens, TopTokens([(lot.places[i], count) for i, count in wanted], top)


class LateDraw:
    """The rows of a step that constraints bind, until their masks can be made."""

    def __init__(self, lot: Lot, bound: Bound, drawn: Drawn) -> None:
        self.lot = lot
        self.bound = bound
        self.drawn = drawn

    @property
    def ready(self) -> bool:
        """Whether the matchers have taken every token before those to be drawn."""
        return all(each.row.unread[0] is self.drawn for each in self.bound)

    def await_tokens(self) -> None:
        for each in self.bound:
            while each.row.unread[0] is not self.drawn:
                each.row.unread[0].read()
