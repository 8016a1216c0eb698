"""Trains the demo's draft model: a smaller one of the same tokenizer that guesses what base and adapters will write.

    python examples/demo/train_draft.py                            in place: about ten minutes of one CPU core
    python examples/demo/train_draft.py --out /tmp/demo --steps 200
    python examples/demo/train_draft.py --score                    on unseen prompts, by the adapters' own answers

It reads what the base was trained on, and the requests of all tasks with the answers that adapters give to them: one
draft model serves base and adapters alike. It is scored by the tokens that a step of the model served would bring with
it. The seed is fixed: the same machine, library versions and steps give the same weights.
"""

import argparse
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from corpus import Document, chat, documents
from peft import PeftModel
from recipes import DRAFT, DRAFT_ARCHITECTURE
from tasks import TASKS, Example
from train import new_model
from trainer import UNLEARNT, Encoded, Model, Rows, answers, encode, fit
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

HERE = Path(__file__).parent
HELD_OUT = 30  # examples a task
DRAFTS = 4  # a step, where tokens a step are measured
OWN_SHARE = 0.15  # of what is read, what the base alone writes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the demo's draft model.")
    parser.add_argument("--steps", type=int, default=DRAFT.steps)
    parser.add_argument("--score", action="store_true", help="train nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="the draft model goes into draft/ in it")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE / "model")
    if not options.score:
        train(options.out / "draft", tokenizer, options.steps)
    score(options.out / "draft", tokenizer)


def train(folder: Path, tokenizer: PreTrainedTokenizerFast, steps: int) -> None:
    model = new_model(tokenizer, DRAFT_ARCHITECTURE)
    rows = Rows.of(encode(tokenizer, _lessons(DRAFT.pool)), tokenizer.pad_token_id, "cpu")
    held_out = {
        name: list(encode(tokenizer, map(_answered, task.examples("valid", HELD_OUT)))) for name, task in TASKS.items()
    }

    def score() -> float:
        each = {name: tokens_a_step(model, examples) for name, examples in held_out.items()}
        print("  ".join(f"{name} {value:.2f}" for name, value in each.items()), flush=True)
        return sum(each.values()) / len(each)

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "model" / "tokenizer.json", folder)  # by which the engine knows that tokens are the same
    fit(
        "draft",
        model,
        rows,
        replace(DRAFT, steps=steps),
        score,
        lambda: model.save_pretrained(folder),
        shown="{:.2f} tokens a step",
    )


def _lessons(count: int) -> Iterator[Document]:
    rng = random.Random("draft")
    own = documents(1, count)
    for _ in range(count):
        task = rng.choice(tuple(TASKS.values()))
        yield next(own) if rng.random() < OWN_SHARE else _answered(task.draw(rng, "train"))


def _answered(example: Example) -> Document:
    """A task's request with its answer, which the adapter gives to nearly all of them."""
    return chat([(example.prompt, example.answer)])


def score(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Tokens a step on each task's unseen prompts, as its adapter answers them."""
    model: Model = LlamaForCausalLM.from_pretrained(folder)
    for name, task in TASKS.items():
        base: Model = LlamaForCausalLM.from_pretrained(HERE / "model", dtype=torch.float32)
        adapter: Model = PeftModel.from_pretrained(base, HERE / "adapters" / name)
        prompts = [example.prompt for example in task.examples("test", HELD_OUT)]
        given = zip(prompts, answers(adapter, tokenizer, prompts), strict=True)
        answered = [chat([(prompt, answer)]) for prompt, answer in given if answer is not None]
        print(f"{name}: {tokens_a_step(model, list(encode(tokenizer, answered))):.2f} tokens a step", flush=True)


@torch.no_grad()
def tokens_a_step(model: Model, answered: Sequence[Encoded]) -> float:
    """Of a target that gives these answers, each step verifying DRAFTS tokens of the model's; prompts' steps apart."""
    model.eval()
    tokens = steps = 0
    for ids, labels in answered:
        guesses = model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        begin = next(place for place, label in enumerate(labels) if label != UNLEARNT)
        right = [guess == token for guess, token in zip(guesses[begin:], ids[begin + 1 :], strict=False)]
        tokens += len(right)
        steps += steps_of(right)
    return tokens / steps


def steps_of(right: Sequence[bool]) -> int:
    """right: for each token of an answer after the first, whether it is guessed."""
    place = steps = 0
    while place < len(right):
        run = 0
        while run < DRAFTS and place + run < len(right) and right[place + run]:
            run += 1
        place += run + 1
        steps += 1
    return steps


if __name__ == "__main__":
    main()
