"""One choice's tokens to the text and the log probabilities that its client may have."""

from collections import deque
from typing import NamedTuple

from chorus_gateway.answer import TokenEntry, TokenView
from chorus_gateway.text.detokenizer import Decodes
from chorus_gateway.text.stop_strings import StopStrings
from chorus_gateway.text.token_bytes import TokenBytes
from chorus_gateway.values import Delta, TokenLogprob


class Written(NamedTuple):
    text: str
    entries: tuple[TokenEntry, ...] = ()


class TextWriter:
    """Detokenizes, looks for stops, and counts what the client is billed: tokens up to the one that completed a stop.

    A token's log probabilities go out with the first text at or after the place where the token's own text begins, so
    the tokens delivered spell the text delivered. `min_tokens` tokens pass before stops are looked for.
    """

    def __init__(
        self,
        detokenizer: Decodes,
        stops: StopStrings,
        *,
        min_tokens: int = 0,
        spell: TokenBytes | None = None,
        origin: int = 0,
    ) -> None:
        """origin: characters that the choice's text has before the answer."""
        self._detokenizer = detokenizer
        self._stops = stops
        self._min_tokens = min_tokens
        self._spell = spell  # None: no log probabilities were asked for
        self._entries: deque[TokenEntry] = deque()
        self._decoded = origin  # characters, those that stops hold back included
        self._delivered = origin
        self._plain = spell is None and not stops.any
        self.tokens = 0

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    def feed(self, delta: Delta) -> Written:
        """Tokens after a completed stop are neither delivered nor counted."""
        if self._plain:
            self.tokens += len(delta.token_ids)
            return Written("".join(map(self._detokenizer.step, delta.token_ids)))
        text = ""
        for at, token_id in enumerate(delta.token_ids):
            if self._stops.stopped:
                break
            self.tokens += 1
            if self._spell is not None and delta.logprobs:
                self._entries.append(self._entry(token_id, delta.logprobs[at]))
            text += self._pass(self._detokenizer.step(token_id))
        return self._written(text)

    def flush(self) -> Written:
        """What was held back, at the end of the tokens."""
        if self._stops.stopped:
            return Written("")
        text = self._pass(self._detokenizer.flush())
        return self._written(text + self._stops.flush())

    def _pass(self, text: str) -> str:
        self._decoded += len(text)
        return text if self.tokens <= self._min_tokens else self._stops.feed(text)

    def _written(self, text: str) -> Written:
        self._delivered += len(text)
        if not self._entries:
            return Written(text)
        ready = []
        while self._entries and self._entries[0].offset < self._delivered:
            ready.append(self._entries.popleft())
        return Written(text, tuple(ready))

    def _entry(self, token_id: int, logprob: TokenLogprob) -> TokenEntry:
        top = tuple(self._view(other, value) for other, value in logprob.top)
        return TokenEntry(self._view(token_id, logprob.logprob), top, self._decoded)

    def _view(self, token_id: int, logprob: float) -> TokenView:
        assert self._spell is not None
        data = self._spell.of(token_id)
        return TokenView(data.decode(errors="replace"), data, logprob)
