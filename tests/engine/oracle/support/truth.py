"""Are these the greedy tokens of transformers + PEFT?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers.models.auto import AutoModelForCausalLM

TIE = 1e-5  # two best logits closer than this are equal as far as float32 can tell


@dataclass(frozen=True)
class Answer:
    prompt: tuple[int, ...]
    adapter: str | None
    tokens: tuple[int, ...]


class Oracle:
    def __init__(
        self,
        checkpoint: Path,
        adapters: Mapping[str, Path],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
        first, *others = adapters
        self._model = PeftModel.from_pretrained(base, str(adapters[first]), adapter_name=first)
        for name in others:
            self._model.load_adapter(str(adapters[name]), adapter_name=name)
        self._model.to(device).eval()
        self._device = device

    @torch.no_grad()
    def logits(self, adapter: str | None, token_ids: Sequence[int]) -> torch.Tensor:
        """[tokens, vocab]"""
        ids = torch.tensor([list(token_ids)], device=self._device)
        if adapter is None:
            with self._model.disable_adapter():
                return torch.as_tensor(self._model(ids).logits[0])
        self._model.set_adapter(adapter)
        return torch.as_tensor(self._model(ids).logits[0])

    @torch.no_grad()
    def hidden(self, adapter: str | None, token_ids: Sequence[int]) -> torch.Tensor:
        """After the final norm: [tokens, hidden]"""
        ids = torch.tensor([list(token_ids)], device=self._device)
        if adapter is None:
            with self._model.disable_adapter():
                return torch.as_tensor(self._model(ids, output_hidden_states=True).hidden_states[-1][0])
        self._model.set_adapter(adapter)
        return torch.as_tensor(self._model(ids, output_hidden_states=True).hidden_states[-1][0])

    @torch.no_grad()
    def beams(
        self, adapter: str | None, prompt: Sequence[int], stops: Sequence[int], **settings: Any
    ) -> list[tuple[tuple[int, ...], float]]:
        """Tokens and score of each answer that `generate` finds with `settings`, the best first."""
        if adapter is None:
            with self._model.disable_adapter():
                return self._beams(prompt, stops, **settings)
        self._model.set_adapter(adapter)
        return self._beams(prompt, stops, **settings)

    def _beams(
        self, prompt: Sequence[int], stops: Sequence[int], **settings: Any
    ) -> list[tuple[tuple[int, ...], float]]:
        found = self._model.generate(  # type: ignore[no-untyped-call] # theirs
            input_ids=torch.tensor([list(prompt)], device=self._device),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64, device=self._device),
            num_return_sequences=settings["num_beams"],
            do_sample=False,
            eos_token_id=list(stops) or [1 << 20],
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
        answers = []
        for tokens, score in zip(found.sequences.tolist(), found.sequences_scores.tolist(), strict=True):
            answer = tokens[len(prompt) :]
            end = next((at for at, token in enumerate(answer, 1) if token in stops), len(answer))
            answers.append((tuple(answer[:end]), score))
        return answers

    def ties(self, answer: Answer) -> int:
        """How many tokens are not the likeliest but tie with it; an AssertionError for any other difference.

        Each token is judged after the ones before it, so that one pass proves the whole greedy path.
        """
        known = (*answer.prompt, *answer.tokens[:-1])
        logits = self.logits(answer.adapter, known)[len(answer.prompt) - 1 :]
        ties = 0
        for place, (row, token) in enumerate(zip(logits, answer.tokens, strict=True)):
            best = row.max()
            if int(row.argmax()) == token:
                continue
            gap = float(best - row[token])
            print(f"{answer.adapter}, prompt of {len(answer.prompt)}: token {place} is {gap:.2e} below the likeliest")
            assert gap < TIE, f"token {place} of {answer} is {token}; the oracle says {int(row.argmax())}"
            ties += 1
        return ties


def check(oracle: Oracle, answers: Sequence[Answer]) -> None:
    """Every answer is the oracle's; ties stay within one in a thousand answers."""
    tied = sum(oracle.ties(answer) > 0 for answer in answers)
    assert tied <= max(1, len(answers) // 1000), f"{tied} of {len(answers)} answers have ties"
