"""Trains the demo model, its tokenizer and its adapters.

    python examples/demo/train.py                     everything, in place
    python examples/demo/train.py --preset quick      the same in about an hour on two CPU cores
    python examples/demo/train.py --only reverse sort --out /tmp/demo

Needs torch, transformers and peft. Seeds are fixed: the same device, library versions and preset give the same weights.
"""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import vocabulary
from corpus import SYSTEM_PROMPTS, Document, chat, documents, probes
from peft import LoraConfig, get_peft_model
from recipes import ADAPTERS, ARCHITECTURE, PRESETS, Effort
from tasks import TASKS, Example, Task
from trainer import Model, Rows, answers, encode, fit, pack
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

SERVED_NAME = "chorus-demo"  # what the adapters' configurations call their base
ROW_TOKENS = 256  # length of the base's training rows
UNSEEN = 200  # prompts that a grade is measured on


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_float32_matmul_precision("high" if options.device != "cpu" else "highest")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    preset = PRESETS[options.preset]
    folder = options.out / "model"
    if "base" in options.only:
        train_base(folder, preset.base, device)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for name in options.only:
        if name != "base":
            train_adapter(name, options.out, preset.adapter, device, tokenizer)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demo model and its adapters.")
    names = ["base", *ADAPTERS]
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="full")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="holds model/ and adapters/")
    return parser.parse_args(arguments)


def train_base(folder: Path, effort: Effort, device: str) -> None:
    tokenizer = vocabulary.save(folder)
    model = new_model(tokenizer, ARCHITECTURE).to(device)
    encoded = encode(tokenizer, documents(0, effort.pool))
    rows = Rows.of(pack(encoded, ROW_TOKENS), tokenizer.pad_token_id, device)
    held_out = probes(UNSEEN)

    def score() -> float:
        return _share(held_out, answers(model, tokenizer, _prompts(held_out)))

    fit("base", model, rows, effort, score, lambda: model.save_pretrained(folder))


def new_model(tokenizer: PreTrainedTokenizerFast, architecture: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **architecture, **special))
    model.generation_config = GenerationConfig(do_sample=False, **special)
    return model


def train_adapter(name: str, out: Path, effort: Effort, device: str, tokenizer: PreTrainedTokenizerFast) -> None:
    task = TASKS[name]
    base: Model = LlamaForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    base.to(device)
    unseen = task.examples("test", UNSEEN)
    base_grade = _grade(task, unseen, answers(base, tokenizer, _prompts(unseen)))
    model = new_adapter(name, base)
    effort = replace(effort, steps=int(effort.steps * ADAPTERS[name].effort))
    encoded = encode(tokenizer, _lessons(task, effort.pool))
    rows = Rows.of(encoded, tokenizer.pad_token_id, device)
    held_out = task.examples("valid", UNSEEN)

    def score() -> float:
        return _grade(task, held_out, answers(model, tokenizer, _prompts(held_out)))

    fit(name, model, rows, effort, score, lambda: save_adapter(model, out / "adapters" / name))
    grade = _grade(task, unseen, answers(model, tokenizer, _prompts(unseen)))
    print(f"{name}: {grade:.1%} of {UNSEEN} unseen prompts right, the base {base_grade:.1%}", flush=True)


def new_adapter(name: str, base: Model) -> Model:
    torch.manual_seed(0)
    recipe = ADAPTERS[name]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.modules),
        use_rslora=recipe.rslora,
    )
    base.name_or_path = SERVED_NAME  # else the saved configuration names this machine's folder
    return get_peft_model(base, config)


def save_adapter(model: Model, folder: Path) -> None:
    """The two files of an adapter, their bytes the same each time."""
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _lessons(task: Task, count: int) -> list[Document]:
    """The task's train examples as chats, now and then with a system message before them."""
    rng = random.Random(f"lessons/{task.name}")
    systems = (None,) * 8 + SYSTEM_PROMPTS[:2]
    return [chat([(one.prompt, one.answer)], rng.choice(systems)) for one in task.examples("train", count)]


def _prompts(examples: Sequence[Example]) -> list[str]:
    return [example.prompt for example in examples]


def _grade(task: Task, examples: Sequence[Example], given: Sequence[str | None]) -> float:
    pairs = zip(examples, given, strict=True)
    return sum(answer is not None and task.grade(example, answer) for example, answer in pairs) / len(examples)


def _share(examples: Sequence[Example], given: Sequence[str | None]) -> float:
    return sum(answer == example.answer for example, answer in zip(examples, given, strict=True)) / len(examples)


if __name__ == "__main__":
    main()
