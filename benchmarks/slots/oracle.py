"""Are answers the greedy ones of transformers + PEFT in float32? Run once what is measured has ended.

One pass over prompt and answer proves a whole greedy path: each token is judged after the ones before it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.slots.client import Answer
from chorus_gateway.text.token_bytes import TokenBytes

TIE = 1e-5  # two best logits closer than this are equal as far as float32 can tell


@dataclass(frozen=True, slots=True)
class Verdict:
    answers: int
    wrong: tuple[str, ...]  # a sentence each
    tied: int
    as_base: int  # answers that the base would have given

    @property
    def differing(self) -> float:
        """Share of the answers that the base would not have given."""
        return 1 - self.as_base / self.answers if self.answers else 1.0


class Oracle:
    """`folder_of` gives an adapter's folder by the name that was asked for."""

    def __init__(self, model: Path, folder_of: Callable[[str], Path]) -> None:
        import torch
        from transformers.models.auto import AutoModelForCausalLM

        torch.set_num_threads(1)  # products this small only wait for a second one
        self._torch = torch
        self._base: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._peft: Any = None
        self._loaded = ""
        self._folder_of = folder_of
        self._ids = _ids_by_name(model / "tokenizer.json")

    def judge(self, answers: Iterable[Answer], note: Callable[[str], None]) -> Verdict:
        """Each adapter is loaded once. The base's own answers are judged under an empty adapter name."""
        ordered = sorted(answers, key=lambda answer: answer.model)
        wrong: list[str] = []
        tied = as_base = done = 0
        for model, group in groupby(ordered, key=lambda answer: answer.model):
            adapter = model.partition("@")[2]
            for answer in group:
                ids = [self._ids[name] for name in answer.tokens]
                gap = self._gap(adapter, answer.prompt, ids)
                tied += 0 < gap < TIE
                if gap >= TIE:
                    wrong.append(f"{model}, prompt of {len(answer.prompt)}: a token lies {gap:.2e} below the likeliest")
                as_base += bool(adapter) and self._gap("", answer.prompt, ids) == 0
                done += 1
            note(f"{done} of {len(ordered)} answers")
        return Verdict(done, tuple(wrong), tied, as_base)

    def _gap(self, adapter: str, prompt: Sequence[int], ids: Sequence[int]) -> float:
        """How far the worst token lies below the likeliest one in its place; 0 when each is the likeliest."""
        known = self._torch.tensor([[*prompt, *ids[:-1]]])
        with self._torch.no_grad():
            rows = self._logits(adapter, known)[len(prompt) - 1 :]
        given = rows.gather(1, self._torch.tensor(ids)[:, None])[:, 0]
        below = (rows.max(dim=1).values - given).clamp(min=0)
        return float(below[rows.argmax(dim=1) != self._torch.tensor(ids)].max()) if bool(below.any()) else 0.0

    def _logits(self, adapter: str, ids: Any) -> Any:
        if self._peft is None:
            if not adapter:
                return self._base(ids).logits[0]
            self._open(adapter)
        if not adapter:
            with self._peft.disable_adapter():
                return self._peft(ids).logits[0]
        if adapter != self._loaded:
            self._swap(adapter)
        return self._peft(ids).logits[0]

    def _open(self, adapter: str) -> None:
        from peft import PeftModel

        self._peft = PeftModel.from_pretrained(self._base, self._folder_of(adapter), adapter_name=_plain(adapter))
        self._peft.eval()
        self._loaded = adapter

    def _swap(self, adapter: str) -> None:
        self._peft.load_adapter(self._folder_of(adapter), adapter_name=_plain(adapter))
        self._peft.set_adapter(_plain(adapter))
        self._peft.delete_adapter(_plain(self._loaded))
        self._loaded = adapter


def _plain(adapter: str) -> str:
    """torch takes no dots in a module's name."""
    return adapter.replace(".", "_")


def _ids_by_name(path: Path) -> dict[str, int]:
    """Token ids by the names that /v1/completions gives tokens: text, or bytes where they are no whole characters."""
    from tokenizers import Tokenizer

    text = path.read_text()
    spell = TokenBytes(Tokenizer.from_file(str(path)), text.encode())
    size = max(json.loads(text)["model"]["vocab"].values(), default=0) + 1
    names = {_name(spell.of(token)): token for token in range(size)}
    assert len(names) == size, "two tokens have one name"
    return names


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
