"""The bytes of each token, as llguidance wants them."""

import json
import secrets
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

# Tokens that llguidance allows as one, where an expression allows all texts of that kind. Its own choice knows texts of
# 10 and 30 characters: a string that may have nine more had its mask made token by token, in 2.3 ms. Twice as fast.
_TEXT = r'[^"\\\x00-\x1F\x7F]'
SLICES = (r"[\x20\x0A\x0D\x09]+", *(f"{_TEXT}{{1,{most}}}" for most in (*range(1, 11), 14, 20, 30)), f"{_TEXT}+")


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
            eos = self._eos or guide.LLTokenizer(self._json, n_vocab=self.vocab_size).eos_token
            text = without_special_names(self._json)
            made: llguidance.LLTokenizer = guide.LLTokenizer(
                text, n_vocab=self.vocab_size, eos_token=eos, slices=list(SLICES)
            )
        except Exception as error:  # its errors have no type of their own
            reason = str(error).partition("\n")[0]
            raise ConstraintRefused(f"this model's tokenizer does not allow to constrain outputs: {reason}.") from error
        return made


def without_special_names(tokenizer_json: str) -> str:
    """The same tokenizer, with names for its special tokens that no text contains.

    llguidance reads the name of a special token in a text as that token: a schema whose strings contain "<|end|>" would
    end there. A tokenizer of our own around it would be asked on each of its threads, and each would wait for Python's
    lock.
    """
    tokenizer = json.loads(tokenizer_json)
    nonce = secrets.token_hex(16)
    names = {token["content"]: f"<|{nonce}-{token['id']}|>" for token in _special(tokenizer)}
    for token in _special(tokenizer):
        token["content"] = names[token["content"]]
    model = tokenizer["model"]
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(piece, piece): at for piece, at in vocab.items()}
    else:  # of a Unigram model, in order of the ids
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocab]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    tokenizer["post_processor"] = None  # names special tokens too, and adds what no output has
    return json.dumps(tokenizer)


def _special(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    return [token for token in tokenizer.get("added_tokens") or () if token["special"]]
