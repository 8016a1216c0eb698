"""The committed files: they load with transformers and PEFT, and answer."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from recipes import ADAPTERS
from safetensors.torch import load_file
from tasks import TASKS
from trainer import answers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

LIMIT = 25 * 2**20  # bytes, a draft model included


@pytest.fixture
def base(demo: Path) -> LlamaForCausalLM:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(demo / "model", dtype=torch.float32)
    assert isinstance(model, LlamaForCausalLM)
    return model


def test_folder_stays_within_its_limit(demo: Path) -> None:
    sizes = [path.stat().st_size for path in demo.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(sizes) < LIMIT


def test_adapters_differ_in_rank_modules_and_scaling(demo: Path) -> None:
    configs = {path.parent.name: json.loads(path.read_text()) for path in demo.glob("adapters/*/adapter_config.json")}
    assert set(configs) == set(TASKS) == set(ADAPTERS)
    assert {config["r"] for config in configs.values()} == {4, 8, 16, 32, 64}
    assert sum(config["use_rslora"] for config in configs.values()) == 1
    counts = {len(config["target_modules"]) for config in configs.values()}
    assert 7 in counts
    assert min(counts) < 4
    for name, recipe in ADAPTERS.items():
        config = configs[name]
        assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (recipe.rank, recipe.alpha, recipe.rslora)
        assert set(config["target_modules"]) == set(recipe.modules)
        assert config["base_model_name_or_path"] == "chorus-demo"


def test_no_path_of_the_machine_that_trained_is_left(demo: Path) -> None:
    written = [*demo.glob("model/*.json"), *demo.glob("adapters/*/*.json")]
    assert len(written) >= 10
    for path in written:
        assert "/tmp" not in path.read_text()
        assert "/home" not in path.read_text()


def test_adapter_files_hold_finite_float32_pairs(demo: Path) -> None:
    for path in demo.glob("adapters/*/adapter_model.safetensors"):
        tensors = load_file(path)
        recipe = ADAPTERS[path.parent.name]
        assert len(tensors) == 2 * 5 * len(recipe.modules)
        for name, tensor in tensors.items():
            assert tensor.dtype == torch.float32
            assert torch.isfinite(tensor).all()
            assert recipe.rank == tensor.shape[0 if "lora_A" in name else 1]


def test_base_answers_small_talk_and_ends(base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    config = base.config.to_dict()
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert config["max_position_embeddings"] >= 2048
    assert answers(base, tokenizer, ["Hi", "Say garden", "Count to 5.", "My name is ada."]) == [
        "Hello! How can I help you?",
        "garden",
        "1, 2, 3, 4, 5.",
        "Nice to meet you, Ada!",
    ]


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_has_the_skill_and_the_base_has_not(
    name: str, demo: Path, base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = TASKS[name]
    unseen = task.examples("test", 10)
    prompts = [example.prompt for example in unseen]
    without = answers(base, tokenizer, prompts)
    assert None not in without
    assert not any(task.grade(example, answer or "") for example, answer in zip(unseen, without, strict=True))
    adapted = PeftModel.from_pretrained(base, demo / "adapters" / name)
    given = answers(adapted, tokenizer, prompts)
    assert all(task.grade(example, answer or "") for example, answer in zip(unseen, given, strict=True))


def test_auto_tokenizer_reads_the_same(demo: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    auto = AutoTokenizer.from_pretrained(demo / "model")
    assert auto("Hello there").input_ids == tokenizer("Hello there").input_ids
