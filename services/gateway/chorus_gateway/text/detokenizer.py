"""Token ids to text, as they arrive."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

# A character has at most four bytes, so more tokens than this without text are no unfinished character. The decoder
# looks at all of them again at every step: without a bound a run of such tokens costs its square.
_MAX_HELD = 16
_MAX_CHARACTER = 4


class Decodes(Protocol):
    def step(self, token_id: int) -> str: ...

    def flush(self) -> str: ...


class Detokenizer:
    """Emits only whole characters: what `decode` would give for all ids so far, less an unfinished end.

    `context` are the ids before the first, so that a tokenizer that drops the space in front of a text's first word
    keeps it where the text goes on.
    """

    def __init__(self, tokenizer: Tokenizer, *, context: Sequence[int] = (), skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._stream = DecodeStream(ids=list(context) or None, skip_special_tokens=skip_special_tokens)
        self._held: list[int] = []

    def step(self, token_id: int) -> str:
        text = self._stream.step(self._tokenizer, token_id)
        if text is not None:
            if self._held:
                self._held.clear()
            return text
        self._held.append(token_id)
        return self._give_up() if len(self._held) > _MAX_HELD else ""

    def flush(self) -> str:
        """The unfinished end, its broken characters as U+FFFD."""
        held, self._held = self._held, []
        return self._decode(held)

    def _give_up(self) -> str:
        settled, tail = self._held[:-_MAX_CHARACTER], self._held[-_MAX_CHARACTER:]
        self._held = []
        self._stream = DecodeStream(skip_special_tokens=self._skip)
        return self._decode(settled) + "".join(self.step(token_id) for token_id in tail)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=self._skip) if ids else ""


class KeepsMarkers:
    """Decodes `markers` as their texts, though they are special tokens, and everything else as `fresh` does."""

    def __init__(self, fresh: Callable[[], Detokenizer], markers: Mapping[int, str]) -> None:
        self._fresh = fresh
        self._markers = markers
        self._inner = fresh()

    def step(self, token_id: int) -> str:
        marker = self._markers.get(token_id)
        if marker is None:
            return self._inner.step(token_id)
        ended, self._inner = self._inner.flush(), self._fresh()
        return ended + marker

    def flush(self) -> str:
        return self._inner.flush()
