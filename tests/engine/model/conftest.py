import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a folder with a config.json of these settings; None leaves a setting out."""

    def write(**changes: Any) -> Path:
        settings = {name: value for name, value in (CONFIG | changes).items() if value is not None}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        return tmp_path

    return write


def tensors() -> dict[str, torch.Tensor]:
    """What a checkpoint of CONFIG holds."""
    shapes = {"model.embed_tokens.weight": (50, 16), "model.norm.weight": (16,)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm.weight": (16,),
            f"{prefix}post_attention_layernorm.weight": (16,),
            f"{prefix}self_attn.q_proj.weight": (16, 16),
            f"{prefix}self_attn.k_proj.weight": (8, 16),
            f"{prefix}self_attn.v_proj.weight": (8, 16),
            f"{prefix}self_attn.o_proj.weight": (16, 16),
            f"{prefix}mlp.gate_proj.weight": (24, 16),
            f"{prefix}mlp.up_proj.weight": (24, 16),
            f"{prefix}mlp.down_proj.weight": (16, 24),
        }
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def checkpoint(write: Write) -> Path:
    folder = write()
    save_file(tensors(), folder / "model.safetensors")
    return folder
