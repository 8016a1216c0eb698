"""The prompt in front of its answer, with its log probabilities."""

from chorus_gateway.answer import TokenEntry, TokenView
from chorus_gateway.text.detokenizer import Decodes
from chorus_gateway.text.token_bytes import TokenBytes
from chorus_gateway.text.writer import Written
from chorus_gateway.values import Delta, TokenLogprob

NOTHING = Written("")


class Echo:
    """Comes once, whole, with the first news that the choice has of its answer: by then all of the prompt has come."""

    def __init__(
        self, text: str | None, ids: tuple[int, ...], detokenizer: Decodes, *, spell: TokenBytes | None = None
    ) -> None:
        """text: as the client wrote it; None where it sent `ids`. spell: None where no log probabilities were asked
        for."""
        pieces = [detokenizer.step(token_id) for token_id in ids]
        pieces[-1] += detokenizer.flush()
        decoded = "".join(pieces)
        self.text = decoded if text is None else text
        self._ids = ids
        self._lengths = [len(piece) for piece in pieces]
        self._before = max(0, decoded.find(self.text))  # characters that the tokenizer put in front of it
        self._spell = spell
        self._logprobs: list[TokenLogprob] = []
        self._pending = True

    def read(self, delta: Delta) -> Written:
        self._logprobs.extend(delta.prompt)
        if not self._pending or not (delta.token_ids or delta.finish is not None):
            return NOTHING
        self._pending = False
        return Written(self.text, self._entries(self._spell) if self._spell is not None else ())

    def _entries(self, spell: TokenBytes) -> tuple[TokenEntry, ...]:
        entries: list[TokenEntry] = []
        offset = 0
        first = TokenLogprob(0.0)
        for token_id, length, logprob in zip(self._ids, self._lengths, [first, *self._logprobs], strict=True):
            top = tuple(_view(spell, other, value) for other, value in logprob.top)
            token = _view(spell, token_id, logprob.logprob)
            at = min(max(0, offset - self._before), len(self.text))
            entries.append(TokenEntry(token, top, at, has_past=logprob is not first))
            offset += length
        return tuple(entries)


def _view(spell: TokenBytes, token_id: int, logprob: float) -> TokenView:
    data = spell.of(token_id)
    return TokenView(data.decode(errors="replace"), data, logprob)
