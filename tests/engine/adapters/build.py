"""Adapters made by hand, for a model of two layers."""

import json
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from chorus_engine.adapters import AdapterFiles, HostAdapter, Layout, convert
from chorus_engine.adapters.host import Weights
from chorus_engine.core.spec import AdapterFootprint, LinearModule, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    digest="0" * 64,
    architecture="LlamaForCausalLM",
    dtype="float32",
    num_layers=2,
    hidden_size=8,
    vocab_size=32,
    modules=(LinearModule("self_attn.q_proj", 8, 6), LinearModule("mlp.down_proj", 10, 8)),
    max_position_embeddings=64,
    eos_token_ids=(2,),
)
LAYOUT = Layout(SPEC, torch.float32, max_rank=16)
PREFIX = "base_model.model.model.layers."


def pair(module: str, a: tuple[int, int], b: tuple[int, int], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{PREFIX}{module}.lora_A.weight": torch.randn(a, generator=generator),
        f"{PREFIX}{module}.lora_B.weight": torch.randn(b, generator=generator),
    }


def plain_tensors(rank: int = 4) -> dict[str, Tensor]:
    return pair("0.self_attn.q_proj", (rank, 8), (6, rank)) | pair("1.mlp.down_proj", (rank, 10), (8, rank), seed=1)


def config(**fields: Any) -> bytes:
    return json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **fields}).encode()


def files(tensors: dict[str, Tensor] | None = None, **fields: Any) -> AdapterFiles:
    return AdapterFiles(config(**fields), save(plain_tensors() if tensors is None else tensors))


def converted(adapter: AdapterFiles, layout: Layout = LAYOUT) -> HostAdapter:
    return convert(adapter.digest(), adapter, layout)


def held(digest: str, size: int) -> HostAdapter:
    """One that takes `size` bytes, for those who only count."""
    return HostAdapter(digest, AdapterFootprint(digest, ()), Weights(torch.empty(size, dtype=torch.uint8), {}))
