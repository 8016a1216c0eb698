"""Requests of the demo's model, run to their ends."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks.in_process import HostAdapters
from chorus_engine.adapters import Layout
from chorus_engine.constraints import ConstraintRoom
from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import EngineError
from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import FinishReason, Output, Request, SampledToken, SamplingParams, Usage
from chorus_engine.model import LoadedModel, load
from chorus_engine.runner import Pending, Runner, RunnerSettings, measure_capacity
from chorus_engine.scheduler import Scheduler
from chorus_engine.scheduler.drafting import Speculator

SETTINGS = RunnerSettings(max_num_seqs=32, num_kv_blocks=2048, block_size=16, max_adapters=1, max_lora_rank=64)


@dataclass
class Answer:
    tokens: list[SampledToken] = field(default_factory=list)
    finish: FinishReason | None = None
    error: Exception | None = None
    text: str = ""
    usage: Usage | None = None

    @property
    def ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]


@dataclass
class Run:
    answers: dict[str, Answer]
    preemptions: int
    most_in_flight: int
    steps: int


class Demo:
    def __init__(self, model: Path, adapter: Path, device: str = "cpu") -> None:
        self.loaded = load(model, name=model.name, device=torch.device(device))
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        layout = Layout(self.loaded.spec, self.loaded.dtype, SETTINGS.max_lora_rank)
        self.adapters = HostAdapters(layout, pinned=device == "cuda")
        self.adapter = self.adapters.read(adapter)
        spec = self.loaded.spec
        self.room = ConstraintRoom((model / "tokenizer.json").read_text(), spec.vocab_size, spec.eos_token_ids)

    def request(
        self, name: str, prompt: str, constraint: Constraint | None = None, *, lora: bool = True, **changes: Any
    ) -> Request:
        chat = f"<|user|>{prompt}<|end|><|assistant|>"
        ids = tuple(self.tokenizer.encode(chat, add_special_tokens=True).ids)
        sampling = SamplingParams(max_tokens=200, seed=7, stop_token_ids=self.loaded.spec.eos_token_ids)
        return Request(
            name,
            ids,
            replace(sampling, constraint=constraint, **changes),
            self.adapter if lora else None,
            namespace=str(lora).encode(),
        )

    def run(
        self,
        requests: Sequence[Request],
        *,
        depth: int = 1,
        settings: RunnerSettings = SETTINGS,
        speculator: Speculator | None = None,
        draft: LoadedModel | None = None,
    ) -> Run:
        """Up to `depth` steps launched and not committed. Constraints are leased meanwhile, as the gate does it."""
        leased = [request.sampling.constraint for request in requests if request.sampling.constraint is not None]
        for constraint in leased:
            self.room.cache.lease(constraint).result()
        try:
            return self._run(requests, depth, settings, speculator, draft)
        finally:
            for constraint in leased:
                self.room.cache.release(constraint)
            self.room.cache.check()

    def _run(
        self,
        requests: Sequence[Request],
        depth: int,
        settings: RunnerSettings,
        speculator: Speculator | None,
        draft: LoadedModel | None,
    ) -> Run:
        capacity = measure_capacity(self.loaded, settings, draft)
        runner = Runner(self.loaded, capacity, self.adapters, constraints=self.room.source, draft=draft)
        if self.loaded.device.type == "cuda":
            runner.warm_up()
        scheduler = Scheduler(runner.capacity, speculator=speculator)
        scheduler.adapter_fetched(self.adapters.footprint(self.adapter))
        for request in requests:
            scheduler.add(request)
        answers = {request.id: Answer() for request in requests}
        flights: deque[tuple[StepPlan, Pending]] = deque()
        most, now, steps = 0, 0.0, 0
        while True:
            now += 0.01
            plan = scheduler.schedule(now)
            if plan is not None:
                flights.append((plan, runner.launch(plan)))
                most, steps = max(most, len(flights)), steps + bool(plan.rows)
            if plan is None and not flights:
                break
            if plan is None or len(flights) >= depth:
                oldest, pending = flights.popleft()
                for output in scheduler.commit(oldest, pending.result(), now):
                    self._take(answers[output.request_id], output)
        scheduler.check()
        return Run(answers, scheduler.load().preemptions, most, steps)

    def _take(self, answer: Answer, output: Output) -> None:
        assert answer.finish is None, "nothing comes after the end"
        answer.tokens.extend(output.tokens)
        answer.finish, answer.error, answer.usage = output.finish, output.error, output.usage or answer.usage
        if output.finish is not None:
            assert output.error is None or isinstance(output.error, EngineError)
            answer.text = self.tokenizer.decode(answer.ids, skip_special_tokens=True)


def schema(text: str) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, text)


PURCHASE = schema(
    json.dumps(
        {
            "type": "object",
            "properties": {"who": {"type": "string", "maxLength": 12}, "count": {"type": "integer", "maximum": 99}},
            "required": ["who", "count"],
            "additionalProperties": False,
        }
    )
)
