"""The training loop, the encoding of what it reads, and greedy answers to score it by."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from corpus import Document
from recipes import Effort
from transformers import PreTrainedTokenizerFast

UNLEARNT = -100  # a label that cross entropy passes over
ANSWER_TOKENS = 160

Model = Any  # of transformers or peft, whose types do not meet
Encoded = tuple[list[int], list[int]]  # token ids and labels, of one length


def encode(tokenizer: PreTrainedTokenizerFast, documents: Iterable[Document]) -> Iterator[Encoded]:
    """Each document's token ids, and as labels those of its learnt segments."""
    documents = list(documents)
    texts = [segment.text for document in documents for segment in document]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    for document in documents:
        tokens: list[int] = []
        labels: list[int] = []
        for segment in document:
            piece = next(ids)
            tokens += piece
            labels += piece if segment.learnt else [UNLEARNT] * len(piece)
        yield tokens, labels


def pack(encoded: Iterable[Encoded], length: int) -> Iterator[Encoded]:
    """Rows of at most `length` tokens, each of as many whole documents as fit."""
    row: Encoded = ([], [])
    for tokens, labels in encoded:
        if len(row[0]) + len(tokens) > length:
            yield row
            row = ([], [])
        row = (row[0] + tokens[:length], row[1] + labels[:length])
    yield row


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows as two matrices, padded at the right."""

    tokens: torch.Tensor  # [rows, longest]
    labels: torch.Tensor  # [rows, longest]
    lengths: torch.Tensor  # [rows]

    @classmethod
    def of(cls, encoded: Iterable[Encoded], pad: int, device: str) -> "Rows":
        rows = list(encoded)
        longest = max(len(tokens) for tokens, _ in rows)
        tokens = torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens, _ in rows])
        labels = torch.tensor([labels + [UNLEARNT] * (longest - len(labels)) for _, labels in rows])
        return cls(tokens.to(device), labels.to(device), torch.tensor([len(tokens) for tokens, _ in rows]))

    def batches(self, size: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches without end: each pass over the rows is in a new order."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.lengths), generator=generator)
            for chosen in order.split(size):
                longest = int(self.lengths[chosen].max())
                yield self.tokens[chosen, :longest], self.labels[chosen, :longest]


def fit(
    name: str,
    model: Model,
    rows: Rows,
    effort: Effort,
    score: Callable[[], float],
    save: Callable[[], None],
    *,
    shown: str = "{:6.1%}",
) -> None:
    """Trains what requires gradients; at intervals saves, and prints loss and held-out score, the latter as `shown`."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=effort.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, effort.steps))
    print(f"{name}: {sum(weight.numel() for weight in weights):,} weights, {len(rows.lengths):,} rows", flush=True)
    started = time.monotonic()
    losses: list[torch.Tensor] = []
    model.train()
    for step, (tokens, labels) in enumerate(rows.batches(effort.batch, seed=0), start=1):
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.detach())
        if step % effort.score_every == 0 or step == effort.steps:
            mean = torch.stack(losses).mean().item()
            losses.clear()
            _report(name, step, effort.steps, mean, shown.format(score()), time.monotonic() - started)
            save()
            model.train()
        if step == effort.steps:
            break


def _rate(step: int, steps: int) -> float:
    """A short warm-up, then half a cosine down to 2%."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _report(name: str, step: int, steps: int, loss: float, score: str, elapsed: float) -> None:
    left = elapsed / step * (steps - step)
    print(
        f"{name:>9}  step {step:>5}/{steps}  loss {loss:.4f}  held-out {score}"
        f"  elapsed {_clock(elapsed)}  left {_clock(left)}",
        flush=True,
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@torch.no_grad()
def answers(
    model: Model, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], batch: int = 256
) -> list[str | None]:
    """Greedy answers through the chat template; None for one that does not end by itself."""
    model.eval()
    found: list[str | None] = []
    for start in range(0, len(prompts), batch):
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + batch]]
        inputs: Any = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**inputs.to(model.device), max_new_tokens=ANSWER_TOKENS, do_sample=False)
        for tokens in output[:, inputs["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in tokens
            found.append(str(tokenizer.decode(tokens, skip_special_tokens=True)) if ended else None)
    return found
