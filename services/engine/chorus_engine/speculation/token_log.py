"""Tokens in order, and where the last few of a text occur in them."""

from array import array
from collections.abc import Iterable, Sequence

LONGEST = 32  # tokens of a match that are counted
TRIED = 8  # places looked at, the latest first
NOWHERE = -1
BOUNDARY = -1  # a token that no text has


class TokenLog:
    """Each pair of tokens is chained to its last occurrence, as in LZ77: appending a token takes one look into a table
    and a search a bounded number of steps, however long the log is."""

    def __init__(self) -> None:
        self.tokens: array[int] = array("q")
        self._latest: dict[int, int] = {}  # pair -> the place after its last occurrence
        self._earlier: array[int] = array("q")  # by place: that after the pair's occurrence before

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        log, latest, earlier = self.tokens, self._latest, self._earlier
        before = log[-1] if log else BOUNDARY
        for token in tokens:
            log.append(token)
            pair = before << 32 | token
            earlier.append(latest.get(pair, NOWHERE))
            latest[pair] = len(log)
            before = token

    def after_itself(self) -> tuple[int, int]:
        """(length, place): the longest earlier match of the log's own end, and what came after it. Of equal ones the
        latest; length 0 is none."""
        return self._longest(self._earlier[-1] if self._earlier else NOWHERE, self.tokens)

    def after(self, text: Sequence[int]) -> tuple[int, int]:
        """Likewise, of the end of another text."""
        if len(text) < 2:
            return 0, NOWHERE
        return self._longest(self._latest.get(text[-2] << 32 | text[-1], NOWHERE), text)

    def read(self, place: int, count: int) -> tuple[int, ...]:
        """Up to `count` tokens from there to the log's end, or to a boundary."""
        found = tuple(self.tokens[place : place + count])
        return found[: found.index(BOUNDARY)] if BOUNDARY in found else found

    def _longest(self, place: int, text: Sequence[int]) -> tuple[int, int]:
        best, found = 0, NOWHERE
        for _ in range(TRIED):
            if place == NOWHERE:
                break
            length = self._common(place, text)
            if length > best and place < len(self.tokens):
                best, found = length, place
            place = self._earlier[place - 1]
        return best, found

    def _common(self, place: int, text: Sequence[int]) -> int:
        """How many tokens before the place are the text's last."""
        tokens, most = self.tokens, min(LONGEST, place, len(text))
        end = len(text)
        for length in range(most):
            token = tokens[place - 1 - length]
            if token == BOUNDARY or token != text[end - 1 - length]:
                return length
        return most
