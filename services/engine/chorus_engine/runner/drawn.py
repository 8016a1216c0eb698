"""The tokens of one step's draw, on their way to the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from chorus_engine.core.errors import EngineError
from chorus_engine.core.request import SampledToken
from chorus_engine.runner.bound_rows import Bound, BoundRow
from chorus_engine.runner.drafts import Verify, agreeing, spans
from chorus_engine.runner.streams import Mark
from chorus_engine.runner.transfer import download

Sampled = tuple[SampledToken, ...] | EngineError  # of one row; or why its request cannot go on


@dataclass(frozen=True, slots=True)
class TopTokens:
    """Log probabilities of some rows' tokens, and of the likeliest ones."""

    wanted: Sequence[tuple[int, int]]  # (row of the draw, how many likeliest), aligned with the rows of the tensors
    logprobs: tuple[Tensor, Tensor, Tensor]  # as `top_logprobs` gives them


class Drawn:
    """Rows that a constraint binds may be drawn later than the others: `send` says that all are."""

    def __init__(
        self,
        tokens: Tensor,
        rows: Sequence[int],
        before: Tensor | None = None,
        verify: Verify = agreeing,
        bound: Bound = (),
        after_read: Callable[[], None] | None = None,
    ) -> None:
        """tokens: [places] int64, padding included; in the places of `bound` there may be none yet. rows: of each place
        but padding. before: [places], the token that each comes after, where rows have drafts.
        """
        self.tokens = tokens
        self._rows = rows
        self._verify = verify
        self._bound = bound
        self._after_read = after_read
        self._before = None if before is None else (download(before), Mark(before.device))
        self._tops: list[tuple[Sequence[tuple[int, int]], list[Tensor]]] = []
        self._sent: tuple[Tensor, Mark] | None = None
        self._then: list[Callable[[], None]] = []
        self._values: list[Sampled] | None = None
        for each in bound:
            each.row.unread.append(self)

    def add(self, top: TopTokens | None) -> None:
        if top is not None:
            self._tops.append((top.wanted, [download(tensor) for tensor in top.logprobs]))

    def send(self) -> None:
        self._sent = download(self.tokens[: len(self._rows)]), Mark(self.tokens.device)
        for call in self._then:
            call()

    def when_sent(self, call: Callable[[], None]) -> None:
        """Now, or as soon as the last rows are drawn: before the next step is launched."""
        if self._sent is None:
            self._then.append(call)
        else:
            call()

    def before(self) -> Sequence[int]:
        """The token that each place comes after; none where no row has drafts. Waits for a draft model's."""
        if self._before is None:
            return ()
        tokens, ready = self._before
        ready.wait()
        return cast(list[int], tokens.tolist())

    def read(self) -> list[Sampled]:
        """By row, in the order of the places. Waits. May be called again."""
        if self._values is None:
            assert self._sent is not None, "draws are read in their order"
            tokens, ready = self._sent
            ready.wait()
            likeliest = self._likeliest()
            drawn = [SampledToken(token, *likeliest.get(place, ())) for place, token in enumerate(tokens.tolist())]
            self._values = self._verified(drawn)
            if self._after_read is not None:
                self._after_read()
        return self._values

    def _verified(self, drawn: Sequence[SampledToken]) -> list[Sampled]:
        before, bound = self.before(), {each.places.start: each.row for each in self._bound}
        if not before and not bound:
            return [(token,) for token in drawn]
        values: list[Sampled] = []
        for places in spans(self._rows):
            tokens = drawn[places.start : places.stop]
            if len(places) > 1:
                drafts = before[places.start + 1 : places.stop]
                tokens = tokens[: 1 + self._verify(drafts, [token.token_id for token in tokens])]
            row = bound.get(places.start)
            values.append(tuple(tokens) if row is None else self._tell(row, tokens))
        return values

    def _likeliest(self) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
        """By row of the draw, for those who asked: the token's log probability, and the likeliest with theirs."""
        found = {}
        for wanted, tensors in self._tops:
            drawn, top, ids = (tensor.tolist() for tensor in tensors)
            for at, (place, count) in enumerate(wanted):
                found[place] = drawn[at], tuple(zip(ids[at][:count], top[at][:count], strict=True))
        return found

    def _tell(self, row: BoundRow, tokens: Sequence[SampledToken]) -> Sampled:
        """The row's matcher goes on by the tokens, unless its output has ended and this is one token too many."""
        row.unread.remove(self)
        matcher = row.matcher
        told: list[SampledToken] = []
        for token in tokens:
            if row.live:
                matcher.take(token.token_id)
            if matcher.error is not None:
                break
            told.append(replace(token, ends=True) if matcher.ended else token)
            if matcher.ended:
                break
        # An error past good tokens is heard of with the row's next step.
        return tuple(told) if told or matcher.error is None else matcher.error
