"""Between texts and token ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chorus_engine.core.errors import StartError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXT = 4  # ids before an answer, so that its first word keeps the space before it
FILE = "tokenizer.json"
MOST_HELD = 16  # ids that may be an unfinished character


class Texts:
    """A checkpoint's tokenizer. Where there is none, prompts are token ids and answers have no text."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = _load(folder / FILE) if (folder / FILE).is_file() else None
        self.source = (folder / FILE).read_text() if self._tokenizer is not None else ""

    def encode(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """Texts get the tokenizer's own special tokens; ids are taken as they are."""
        if not isinstance(prompt, str):
            return tuple(prompt)
        if self._tokenizer is None:
            raise StartError(f"the checkpoint has no {FILE}; give token ids instead of text.")
        return tuple(self._tokenizer.encode(prompt).ids)

    def writer(self, prompt: Sequence[int], stop: Sequence[str]) -> "Writer":
        return Writer(self._tokenizer, prompt, stop)


class Writer:
    """One answer's text as its tokens come, less what may be the beginning of a stop string."""

    def __init__(self, tokenizer: "Tokenizer | None", prompt: Sequence[int], stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._before = list(prompt[-CONTEXT:])
        self._ids: list[int] = []
        self._read = 0  # ids whose text is complete
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, ids: Sequence[int], *, last: bool) -> str:
        """Further text; last: no more ids come."""
        if self._tokenizer is None or self.stopped:
            return ""
        self._ids.extend(ids)
        text = self._held + self._decode(self._tokenizer, last=last)
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _decode(self, tokenizer: "Tokenizer", *, last: bool) -> str:
        """Of the ids since the last whole character, in the company of those before them."""
        known = [*self._before, *self._ids[: self._read]][-CONTEXT:]
        before = tokenizer.decode(known)
        text = tokenizer.decode([*known, *self._ids[self._read :]])
        if text.endswith("\ufffd") and not last and len(self._ids) - self._read <= MOST_HELD:
            return ""
        self._read = len(self._ids)
        return text[len(before) :]


def _overlap(text: str, stop: str) -> int:
    """Characters at the text's end that a stop string may begin with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def _load(path: Path) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise StartError(
            "texts need the package tokenizers; install it, or remove tokenizer.json and use ids."
        ) from None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
