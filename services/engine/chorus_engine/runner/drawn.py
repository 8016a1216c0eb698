"""The tokens of one step's draw, on their way to the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from chorus_engine.core.errors import EngineError
from chorus_engine.core.request import SampledToken
from chorus_engine.runner.bound_rows import Bound, BoundRow
from chorus_engine.runner.streams import Mark
from chorus_engine.runner.transfer import download


@dataclass(frozen=True, slots=True)
class TopTokens:
    """Log probabilities of some rows' tokens, and of the likeliest ones."""

    wanted: Sequence[tuple[int, int]]  # (row of the draw, how many likeliest), aligned with the rows of the tensors
    logprobs: tuple[Tensor, Tensor, Tensor]  # as `top_logprobs` gives them


class Drawn:
    """Rows that a constraint binds may be drawn later than the others: `send` says that all are."""

    def __init__(
        self, tokens: Tensor, count: int, bound: Bound = (), after_read: Callable[[], None] | None = None
    ) -> None:
        """tokens: [rows] int64, padding included; in the places of `bound` there may be none yet."""
        self.tokens = tokens
        self._count = count
        self._bound = bound
        self._after_read = after_read
        self._tops: list[tuple[Sequence[tuple[int, int]], list[Tensor]]] = []
        self._sent: tuple[Tensor, Mark] | None = None
        self._then: list[Callable[[], None]] = []
        self._values: list[SampledToken | EngineError] | None = None
        for _, row in bound:
            row.unread.append(self)

    def add(self, top: TopTokens | None) -> None:
        if top is not None:
            self._tops.append((top.wanted, [download(tensor) for tensor in top.logprobs]))

    def send(self) -> None:
        self._sent = download(self.tokens[: self._count]), Mark(self.tokens.device)
        for call in self._then:
            call()

    def when_sent(self, call: Callable[[], None]) -> None:
        """Now, or as soon as the last rows are drawn: before the next step is launched."""
        if self._sent is None:
            self._then.append(call)
        else:
            call()

    def read(self) -> list[SampledToken | EngineError]:
        """Waits. Instead of a token, why the row's request cannot go on. May be called again."""
        if self._values is None:
            assert self._sent is not None, "draws are read in their order"
            tokens, ready = self._sent
            ready.wait()
            likeliest = self._likeliest()
            sampled = [SampledToken(token, *likeliest.get(place, ())) for place, token in enumerate(tokens.tolist())]
            self._values = [*sampled]
            for place, row in self._bound:
                self._values[place] = self._tell(row, sampled[place])
            if self._after_read is not None:
                self._after_read()
        return self._values

    def _likeliest(self) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
        """By row of the draw, for those who asked: the token's log probability, and the likeliest with theirs."""
        found = {}
        for wanted, tensors in self._tops:
            drawn, top, ids = (tensor.tolist() for tensor in tensors)
            for at, (place, count) in enumerate(wanted):
                found[place] = drawn[at], tuple(zip(ids[at][:count], top[at][:count], strict=True))
        return found

    def _tell(self, row: BoundRow, token: SampledToken) -> SampledToken | EngineError:
        """The row's matcher goes on by the token, unless its output has ended and this is one token too many."""
        row.unread.remove(self)
        matcher = row.matcher
        if row.live:
            matcher.take(token.token_id)
            if matcher.ended:
                token = replace(token, ends=True)
        return token if matcher.error is None else matcher.error
