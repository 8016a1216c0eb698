import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep, StepPlan
from chorus_engine.core.request import SampledToken, SamplingParams
from chorus_engine.model import LoadedModel, load
from chorus_engine.runner import AdapterWeights, Runner, RunnerSettings, measure_capacity
from chorus_kernels.paged_attention.paged import splits

SETTINGS = RunnerSettings(max_num_seqs=8, num_kv_blocks=40, block_size=4, max_adapters=2, max_lora_rank=16)


class NoAdapters:
    def get(self, digest: str) -> AdapterWeights:
        raise AssertionError(f"nobody should ask for {digest}")


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """torch.empty is full of NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("model")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return load(folder, name="tiny", device=torch.device("cpu"), load_format="dummy")


@pytest.fixture
def runner(model: LoadedModel) -> Runner:
    return Runner(model, measure_capacity(model, SETTINGS), NoAdapters())


class Hand:
    """Requests run by hand: each row has its own blocks, whole prompts at first, then a token a step."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.steps = 0

    def generate(self, requests: dict[int, tuple[tuple[int, ...], SamplingParams]]) -> dict[int, list[SampledToken]]:
        """Row → prompt and sampling; the answer is row → max_tokens tokens. All requests run together."""
        admit = tuple(
            Admission(row, str(row), prompt, len(prompt), BASE_SLOT, params)
            for row, (prompt, params) in requests.items()
        )
        answers: dict[int, list[SampledToken]] = {row: [] for row in requests}
        while True:
            rows = tuple(
                self._next(row, len(prompt), len(answers[row]))
                for row, (prompt, params) in requests.items()
                if len(answers[row]) < params.max_tokens
            )
            if not rows:
                break
            for step, sampled in zip(rows, self.launch(rows, admit=admit), strict=True):
                answers[step.row].extend(sampled)
            admit = ()
        self.launch((), release=tuple(requests))
        return answers

    def launch(
        self, rows: tuple[RowStep, ...], admit: tuple[Admission, ...] = (), release: tuple[int, ...] = ()
    ) -> tuple[tuple[SampledToken, ...], ...]:
        self.steps += 1
        return self.runner.launch(StepPlan(self.steps, rows, release, admit)).result().sampled

    def _next(self, row: int, prompt: int, produced: int) -> RowStep:
        blocks = tuple(range(row * 5, row * 5 + 5)) if produced == 0 else ()
        if produced == 0:
            return RowStep(row, 0, prompt, blocks, True)
        return RowStep(row, prompt + produced - 1, 1, blocks, True)


@pytest.fixture
def hand(runner: Runner) -> Hand:
    return Hand(runner)


@pytest.fixture
def in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context is cut into as many parts as fill a card, nearly all of them empty here, and Triton's interpreter runs
    the programs of one after the other."""
    pytest.importorskip("triton")
    kernels = import_module("chorus_kernels.paged_attention.triton")
    monkeypatch.setattr(kernels, "splits", lambda sequences, kv_heads: min(2, splits(sequences, kv_heads)))
