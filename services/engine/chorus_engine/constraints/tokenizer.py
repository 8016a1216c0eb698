"""The bytes of each token, as llguidance wants them."""

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chorus_engine.core.errors import ConstraintRefused

if TYPE_CHECKING:
    import llguidance


def library() -> Any:
    """llguidance. Raises ConstraintRefused where it is not installed."""
    try:
        import llguidance
    except ImportError as error:
        raise ConstraintRefused(
            "this engine cannot constrain outputs: the package llguidance is not installed with it."
        ) from error
    return llguidance


LARGE = 10_000  # tokens


class TokenTable:
    """Of one base model. Made of its tokenizer.json when first used: a second or two for a vocabulary of 128,000."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        """vocab_size: columns of the logits, which may be more than there are tokens."""
        self._json = tokenizer_json
        self.vocab_size = vocab_size
        self._eos = list(eos_token_ids)
        self._lock = threading.Lock()
        self._made: llguidance.LLTokenizer | None = None

    @property
    def large(self) -> bool:
        """Whether it takes noticeable time to make."""
        return self.vocab_size > LARGE

    def to_json(self) -> dict[str, Any]:
        """Keywords to make another."""
        return {"tokenizer_json": self._json, "vocab_size": self.vocab_size, "eos_token_ids": self._eos}

    def get(self) -> "llguidance.LLTokenizer":
        """Raises ConstraintRefused."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> "llguidance.LLTokenizer":
        guide = library()
        try:
            plain = guide.LLTokenizer(self._json, n_vocab=self.vocab_size, eos_token=self._eos or None)
            wrapped = _PlainText(plain, self._eos)
            made: llguidance.LLTokenizer = guide.LLTokenizer(
                wrapped, n_vocab=self.vocab_size, eos_token=self._eos or None
            )
        except Exception as error:  # its errors have no type of their own
            reason = str(error).partition("\n")[0]
            raise ConstraintRefused(f"this model's tokenizer does not allow to constrain outputs: {reason}.") from error
        return made


class _PlainText:
    """What llguidance asks a tokenizer written in Python for.

    Its own, made of tokenizer.json, reads the name of a special token in a text as that token: a schema whose strings
    contain "<|end|>" would end there.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, plain: "llguidance.LLTokenizer", eos: list[int]) -> None:
        size = plain.vocab_size
        self.eos_token_id = eos[0] if eos else plain.eos_token
        self.tokens = [plain.decode_bytes([token]) for token in range(size)]
        self.special_token_ids = [token for token in range(size) if plain.is_special_token(token)]
        names = sorted({self.tokens[token] for token in self.special_token_ids} - {b""}, key=len, reverse=True)
        self._names = re.compile(b"|".join(map(re.escape, names)) if names else b"(?!)")
        self._plain = plain

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        if self._names.search(data):
            return self._plain.greedy_tokenize(data.decode(errors="replace"))
        return self._plain.tokenize_bytes(data)
