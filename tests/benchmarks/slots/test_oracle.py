"""The judge itself: right answers pass, wrong ones do not, and the base's are told apart."""

from pathlib import Path

import pytest
import torch
from transformers.models.auto import AutoModelForCausalLM

from benchmarks.slots import adapters
from benchmarks.slots.client import Answer
from benchmarks.slots.oracle import Oracle, _ids_by_name
from scripts.stack.config import DEMO

PROMPT = (40, 41, 42, 43)
NAMES = {token: name for name, token in _ids_by_name(DEMO / "model" / "tokenizer.json").items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for index in range(2):
        adapters.write(adapters.small(index), folder / f"a{index}")
    return folder


@pytest.fixture(scope="module")
def generated(folder: Path) -> dict[str, Answer]:
    """Greedy answers of the base and of two adapters, by transformers and PEFT alone."""
    from peft import PeftModel

    torch.set_num_threads(1)
    base = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder / "a0", adapter_name="a0")
    model.load_adapter(folder / "a1", adapter_name="a1")
    answers = {}
    for name in ("a0", "a1"):
        model.set_adapter(name)
        answers[name] = _answer(model, f"chorus-demo@{name}")
    with model.disable_adapter():
        answers["base"] = _answer(model, "chorus-demo")
    return answers


def _answer(model: torch.nn.Module, name: str) -> Answer:
    ids = torch.tensor([PROMPT])
    for _ in range(6):
        with torch.no_grad():
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(dim=-1)], dim=1)
    return Answer(name, PROMPT, tokens=[NAMES[int(token)] for token in ids[0, len(PROMPT) :]])


def test_right_answers_are_told_from_others(folder: Path, generated: dict[str, Answer]) -> None:
    swapped = Answer("chorus-demo@a0", PROMPT, tokens=generated["a1"].tokens)
    unchanged = Answer("chorus-demo@a1", PROMPT, tokens=generated["base"].tokens)
    asked = [*generated.values(), swapped, unchanged]
    verdict = Oracle(DEMO / "model", folder.joinpath).judge(asked, lambda text: None)
    assert verdict.answers == 5
    assert len(verdict.wrong) == 2
    assert verdict.as_base == 1
    assert verdict.differing == pytest.approx(0.8)
