"""Tiny random checkpoints of each family with PEFT adapters strong enough to change what the base says."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.models.auto import AutoModelForCausalLM

from chorus_engine.core.spec import OUTER_LAYER

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
OUTER = ["embed_tokens", "lm_head"]
MAX_POSITIONS = 1024


@dataclass(frozen=True)
class AdapterShape:
    rank: int
    targets: list[str] | str
    rslora: bool = False
    layers: list[int] | None = None
    ranks: dict[str, int] = field(default_factory=dict)  # rank_pattern
    alphas: dict[str, int] = field(default_factory=dict)  # alpha_pattern
    tied: bool = False  # ensure_weight_tying


ADAPTERS = {
    "r4": AdapterShape(4, ["q_proj", "v_proj"]),
    "r8": AdapterShape(8, ALL),
    "r16rs": AdapterShape(16, ALL, rslora=True),
    "r20": AdapterShape(20, ["gate_proj", "up_proj", "down_proj"]),
    "r64": AdapterShape(64, ATTENTION, layers=[0, 2]),
}
OUTER_ADAPTERS = {
    "plain": ADAPTERS["r8"],
    "head": AdapterShape(4, ["lm_head"]),
    "embedding": AdapterShape(9, ["embed_tokens"], rslora=True),
    "both": AdapterShape(8, r".*(q_proj|down_proj|lm_head|embed_tokens)", ranks={"lm_head": 20}, alphas={"embed.*": 9}),
    "all": AdapterShape(24, [*ALL, *OUTER]),
}


def family_config(family: str) -> Any:
    common: dict[str, Any] = {
        "vocab_size": 211,
        "hidden_size": 64,
        "intermediate_size": 112,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if family == "llama":
        scaling = {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        }
        return LlamaConfig(**common, rope_parameters=scaling, tie_word_embeddings=True, attention_bias=True)
    if family == "mistral":
        return MistralConfig(**common, sliding_window=48, head_dim=24)
    if family == "qwen2":
        return Qwen2Config(**common, rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0})
    return Qwen3Config(**common, head_dim=32, tie_word_embeddings=True)


def make_checkpoint(family: str, folder: Path, *, shard_size: str = "5GB") -> None:
    torch.manual_seed(FAMILIES.index(family))
    config = family_config(family)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call] # theirs
    _randomize(model)
    model.save_pretrained(folder, max_shard_size=shard_size)


def make_adapter(checkpoint: Path, shape: AdapterShape, folder: Path) -> None:
    torch.manual_seed(shape.rank)
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tying: dict[str, Any] = {"ensure_weight_tying": True} if shape.tied else {}  # older versions of peft have it not
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=2 * shape.rank,
        target_modules=shape.targets,
        use_rslora=shape.rslora,
        layers_to_transform=shape.layers,
        rank_pattern=shape.ranks,
        alpha_pattern=shape.alphas,
        init_lora_weights=False,
        **tying,
    )
    model = get_peft_model(base, config)
    scale = 2 * shape.rank**0.5 if shape.rslora else 2.0
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            nn.init.normal_(parameter, 0, parameter.shape[1] ** -0.5)
        elif "lora_embedding" in name:  # about as large as the embeddings
            nn.init.normal_(parameter, 0, 0.7 * (scale * shape.rank**0.5) ** -0.5)
        elif "lora_B" in name:  # makes the update about as large as the product that it joins
            nn.init.normal_(parameter, 0, 1.5 / (scale * shape.rank**0.5))
    model.save_pretrained(str(folder), save_embedding_layers=False)


def host_weights(folder: Path) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    """An adapter folder as the pool takes it: (layer, module) → A [rank, in], scale * B transposed [rank, out]."""
    config = LoraConfig.from_pretrained(str(folder))
    tensors = load_file(folder / "adapter_model.safetensors")
    weights = {}
    for name, a in tensors.items():
        module, side, _ = re.split(r"\.lora_(?:embedding_)?([AB])", name.removeprefix("base_model.model."))
        if side == "A":
            b = tensors["B".join(name.rsplit("A", 1))]
            alpha = _pattern(config.alpha_pattern, module, config.lora_alpha)
            scale = alpha / (len(a) ** 0.5 if config.use_rslora else len(a))
            weights[_key(module)] = (a, (b.T * scale).contiguous())
    return weights


def _key(module: str) -> tuple[int, str]:
    _, _, inside = module.partition("layers.")
    if not inside:
        return OUTER_LAYER, module.removeprefix("model.")
    layer, path = inside.split(".", 1)
    return int(layer), path


def _pattern(patterns: dict[str, int], module: str, default: int) -> int:
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _randomize(model: nn.Module) -> None:
    """Weights that keep activations near 1 and logits far apart, biases and norms that matter."""
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.normal_(parameter, 1, 0.2)
        elif name.endswith("bias") or "embed" in name or "lm_head" in name:
            nn.init.normal_(parameter, 0, 0.3)
        else:
            nn.init.normal_(parameter, 0, parameter.shape[1] ** -0.5)
