"""A speculator that knows the answers, and gets as many of them wrong as it is told to."""

from collections.abc import Sequence
from random import Random

from chorus_engine.core.draft import NO_DRAFT, Asking, Draft
from chorus_engine.core.request import Request
from tests.engine.scheduler.fake_runner import VOCAB, answer


class Guessing:
    """Drafts of random length, or none, for whoever asks; sometimes the runner is to guess."""

    def __init__(self, right: float, seed: int = 0) -> None:
        self._right = right
        self._random = Random(seed)
        self.drafted = 0
        self.taken = 0
        self.live: set[str] = set()

    def drafts_beside(self, rows: int) -> bool:
        return self._random.random() < 0.9

    def expects(self, asking: Sequence[Asking], rows: int) -> bool:
        assert len(asking) <= rows
        return self._random.random() < 0.5

    def draft(self, asking: Sequence[Asking], rows: int, room: int) -> Sequence[Draft]:
        assert len(asking) <= rows
        drafts = []
        for each in asking:
            self.live.add(each.request.id)
            drafts.append(self._draft(each, room))
            room -= len(drafts[-1])
        return drafts

    def verified(self, request: Request, produced: int, drafted: int, taken: int) -> None:
        assert 0 <= taken <= drafted
        assert request.id in self.live, "nothing is told of a request that has ended"
        self.drafted += drafted
        self.taken += taken

    def timed(self, rows: int, drafted: int, seconds: float) -> None:
        assert rows > 0
        assert seconds >= 0

    def ended(self, request: Request, produced: Sequence[int]) -> None:
        assert list(produced) == answer(request)[0][: len(produced)]
        self.live.discard(request.id)

    def _draft(self, asking: Asking, room: int) -> Draft:
        count = min(self._random.randrange(6), asking.most, room)
        if count <= 0:
            return NO_DRAFT
        if self._random.random() < 0.2:
            return Draft(guesses=count)
        right = answer(asking.request)[0][len(asking.produced) :][:count]
        wrong = (self._random.random() >= self._right for _ in range(count))
        padded = (*right, *[0] * (count - len(right)))
        return Draft(tuple((token + away) % VOCAB for token, away in zip(padded, wrong, strict=True)))
