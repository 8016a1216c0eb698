"""What the engine is measured on: a model's shape, random adapters, random prompts.

Prompts are random token ids, drawn anew for each repeat; decoding is greedy with end-of-text ignored; request i uses
adapter i mod the number of adapters. Nothing here needs torch.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

LOWEST_TOKEN, HIGHEST_TOKEN = 100, 120_000


@dataclass(frozen=True, slots=True)
class Item:
    """One request."""

    prompt: tuple[int, ...]
    output: int  # tokens
    adapter: str | None  # digest; None is the base model
    arrival: float = 0.0  # seconds after the start
    schema: str = ""  # JSON Schema of the answer; empty for any
    speculation: int | None = None  # drafts a step; None: as many as the engine likes, where it drafts at all


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that are all there at the start."""

    name: str
    requests: int
    prompt: int  # tokens of each
    output: int  # tokens of each
    adapters: int = 0  # request i uses adapter i mod this; 0 is the base model
    at_once: int = 256  # most requests that can run at once

    def items(self, seed: int, vocab: int, digests: Sequence[str] = ()) -> list[Item]:
        draws = prompts(self.requests, self.prompt, seed, vocab)
        return [
            Item(prompt, self.output, digests[i % self.adapters] if self.adapters else None)
            for i, prompt in enumerate(draws)
        ]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model without its weights, and the workloads that suit its size."""

    name: str
    config: Mapping[str, Any]  # config.json
    workloads: Mapping[str, Workload]

    @property
    def vocab(self) -> int:
        return int(self.config["vocab_size"])

    def workload(self, name: str, adapters: int = 0) -> Workload:
        """With fewer adapters than asked for where there are fewer requests."""
        work = self.workloads[name]
        return replace(work, adapters=min(adapters, work.requests))


def prompts(count: int, length: int, seed: int, vocab: int) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    low, high = min(LOWEST_TOKEN, vocab // 4), min(HIGHEST_TOKEN, vocab)
    return [tuple(draw.randrange(low, high) for _ in range(length)) for _ in range(count)]


def poisson(work: Workload, rate: float, seconds: float, seed: int, vocab: int) -> list[Item]:
    """Requests like the workload's on the base model, as many as arrive within `seconds` at `rate` a second."""
    draw = random.Random(seed)
    arrivals: list[float] = []
    now = draw.expovariate(rate)
    while now < seconds:
        arrivals.append(now)
        now += draw.expovariate(rate)
    drawn = prompts(len(arrivals), work.prompt, seed, vocab)
    return [Item(prompt, work.output, None, arrival) for prompt, arrival in zip(drawn, arrivals, strict=True)]


def adapter_digest(index: int, rank: int) -> str:
    """The name of random adapter `index`, so that both sides know it without asking."""
    return hashlib.sha256(f"random adapter {index} of rank {rank}".encode()).hexdigest()


def _named(*works: Workload) -> dict[str, Workload]:
    return {work.name: work for work in works}


LLAMA_8B = Shape(
    "llama-8b",
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    },
    _named(
        Workload("single", 1, 128, 256),
        Workload("batch32", 32, 128, 256),
        Workload("batch128", 128, 128, 256),
        Workload("mixed", 512, 512, 128),
        Workload("prefill", 64, 2048, 1),
        Workload("overflow", 128, 128, 256, at_once=16),  # two requests an adapter, memory for eight adapters
        Workload("overflow-common", 128, 128, 256),
        Workload("saturate", 320, 1000, 256),
        Workload("trace", 32, 128, 512),
        Workload("prefix", 1, 2000, 16),
    ),
)

# For tests of the harness on CPU.
TINY = Shape(
    "tiny",
    {
        **LLAMA_8B.config,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 48,
        "vocab_size": 512,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    _named(
        Workload("single", 1, 16, 8),
        Workload("batch32", 4, 16, 8),
        Workload("batch128", 8, 16, 8),
        Workload("mixed", 12, 24, 4),
        Workload("prefill", 4, 64, 1),
        Workload("overflow", 16, 16, 4, at_once=4),
        Workload("overflow-common", 16, 16, 4),
        Workload("saturate", 8, 32, 4),
        Workload("trace", 4, 16, 64),
        Workload("prefix", 1, 96, 4),
    ),
)

SHAPES = {shape.name: shape for shape in (LLAMA_8B, TINY)}
