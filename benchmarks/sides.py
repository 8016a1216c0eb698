"""The two sides of the engine's benchmark, each a function from a workload to its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.in_process import InProcessEngine
from chorus_engine.core.request import Request, SamplingParams
from chorus_engine.runner import RunnerSettings

Tokens = list[list[int]]


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival, decoded greedily."""

    name: str
    prompts: Tokens
    adapters: list[str] | None  # of each request; None is the base model
    max_tokens: int
    stop: tuple[int, ...]  # tokens that end an answer; none: every answer has max_tokens


class Chorus:
    """All requests are there at the start; `rows` of them run at once, and one that ends gives its row to the next."""

    def __init__(self, model: Path, adapters: Sequence[Path], rows: int) -> None:
        settings = RunnerSettings(max_num_seqs=rows, max_adapters=len(adapters))
        self._engine = InProcessEngine(model, adapters, settings, torch.device("cpu"))
        self._digests = dict(zip([folder.name for folder in adapters], self._engine.digests, strict=True))
        self.end_of_text = self._engine.spec.eos_token_ids

    def generate(self, work: Workload) -> Tokens:
        sampling = SamplingParams(max_tokens=work.max_tokens, temperature=0.0, stop_token_ids=work.stop)
        names = work.adapters
        requests = [
            Request(str(i), tuple(prompt), sampling, adapter=self._digests[names[i]] if names else None)
            for i, prompt in enumerate(work.prompts)
        ]
        answers = self._engine.generate(requests)
        return [answers[request.id] for request in requests]


class Peers:
    """transformers for the base, PEFT for mixed batches: left-padded static batches of `rows` in order of arrival."""

    def __init__(self, model: Path, adapters: Sequence[Path], rows: int) -> None:
        from peft import PeftModel

        self._rows = rows
        self._base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        wrapped = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._peft = PeftModel.from_pretrained(wrapped, adapters[0], adapter_name=adapters[0].name)
        for folder in adapters[1:]:
            self._peft.load_adapter(folder, adapter_name=folder.name)
        self._peft.eval()

    def generate(self, work: Workload) -> Tokens:
        answers: Tokens = []
        for first in range(0, len(work.prompts), self._rows):
            batch = slice(first, first + self._rows)
            names = None if work.adapters is None else work.adapters[batch]
            answers += [cut(answer, work.stop) for answer in self._batch(work.prompts[batch], names, work)]
        return answers

    def _batch(self, prompts: Tokens, names: list[str] | None, work: Workload) -> Tokens:
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        model: Any = self._base if names is None else self._peft  # `generate` is typed for neither
        extra = {} if names is None else {"adapter_names": names}
        output = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=work.max_tokens, do_sample=False, pad_token_id=0,
            eos_token_id=list(work.stop) or -1, **extra,
        )  # fmt: skip
        answers: Tokens = output[:, longest:].tolist()
        return answers


def cut(answer: list[int], stop: Sequence[int]) -> list[int]:
    """Without the padding behind its end."""
    end = next((i for i, token in enumerate(answer) if token in stop), len(answer) - 1)
    return answer[: end + 1]
