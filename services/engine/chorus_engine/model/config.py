"""A checkpoint's config.json as one frozen value, or the sentence that says what is not supported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chorus_engine.core.errors import StartError

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
ROPE_TYPES = ("default", "linear", "llama3")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RopeConfig:
    type: str  # one of ROPE_TYPES
    theta: float
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    original_max_position_embeddings: int = 0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    architecture: str
    dtype: str  # the checkpoint's, such as "bfloat16"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    rope: RopeConfig
    max_position_embeddings: int
    tied_head: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    sliding_window: int | None
    eos_token_ids: tuple[int, ...]


def read_config(folder: Path) -> ModelConfig:
    """Raises StartError naming the architecture, setting or value that is not supported."""
    raw = read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    eos = read_json(generation).get("eos_token_id") if generation.exists() else None
    try:
        return _parse(raw, eos)
    except KeyError as missing:
        raise StartError(f"{folder / 'config.json'} has no field {missing}; use a complete checkpoint.") from None


def read_json(path: Path) -> Json:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StartError(f"{path} does not exist; give a folder with a Hugging Face checkpoint.") from None
    except (OSError, ValueError) as error:
        raise StartError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(content, dict):
        raise StartError(f"{path} holds no JSON object; give a folder with a Hugging Face checkpoint.")
    return content


def _parse(raw: Json, generation_eos: Any) -> ModelConfig:
    architecture = _architecture(raw)
    _refuse_unsupported(raw, architecture)
    heads = raw["num_attention_heads"]
    bias = bool(raw.get("attention_bias", False))
    eos = generation_eos if generation_eos is not None else raw.get("eos_token_id")
    return ModelConfig(
        architecture=architecture,
        dtype=raw.get("dtype") or raw.get("torch_dtype") or "float32",
        vocab_size=raw["vocab_size"],
        hidden_size=raw["hidden_size"],
        intermediate_size=raw["intermediate_size"],
        num_layers=raw["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=raw.get("num_key_value_heads") or heads,
        head_dim=_head_dim(raw, architecture, heads),
        norm_eps=raw["rms_norm_eps"],
        rope=_rope(raw),
        max_position_embeddings=raw["max_position_embeddings"],
        tied_head=bool(raw.get("tie_word_embeddings", False)),
        qkv_bias=bias or architecture == "Qwen2ForCausalLM",
        output_bias=bias and architecture in ("LlamaForCausalLM", "Qwen3ForCausalLM"),
        mlp_bias=bool(raw.get("mlp_bias", False)),
        qk_norm=architecture == "Qwen3ForCausalLM",
        sliding_window=raw.get("sliding_window", 4096) if architecture == "MistralForCausalLM" else None,
        eos_token_ids=_eos(eos),
    )


def _head_dim(raw: Json, architecture: str, heads: int) -> int:
    """Where a config leaves a value out, here as in the window, it means the default of transformers' own class."""
    if architecture == "Qwen3ForCausalLM":
        return int(raw.get("head_dim") or 128)
    return int(raw.get("head_dim") or raw["hidden_size"] // heads)


def _architecture(raw: Json) -> str:
    names = raw.get("architectures") or ["none"]
    if len(names) != 1 or names[0] not in ARCHITECTURES:
        raise StartError(f"Architecture {', '.join(names)} is not supported; use one of {', '.join(ARCHITECTURES)}.")
    return str(names[0])


def _refuse_unsupported(raw: Json, architecture: str) -> None:
    supported = {
        "hidden_act": ("silu", None),
        "quantization_config": (None,),
        "use_sliding_window": (False, None),
        "partial_rotary_factor": (1, 1.0, None),
        "pretraining_tp": (1, None),
    }
    if architecture == "MistralForCausalLM":
        supported["attention_bias"] = (False, None)
    for name, values in supported.items():
        if raw.get(name) not in values:
            raise StartError(f"{architecture} with {name}={raw[name]!r} is not supported; it must be {values[0]!r}.")


def _rope(raw: Json) -> RopeConfig:
    """transformers 5 writes `rope_parameters`; before, theta stood beside `rope_scaling`."""
    scaling = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind not in ROPE_TYPES:
        raise StartError(f"RoPE type {kind!r} is not supported; use one of {', '.join(ROPE_TYPES)}.")
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        value = scaling["partial_rotary_factor"]
        raise StartError(f"partial_rotary_factor={value!r} is not supported; it must be 1.0.")
    theta = float(scaling.get("rope_theta") or raw.get("rope_theta") or 10000.0)
    if kind == "default":
        return RopeConfig(kind, theta)
    if kind == "linear":
        return RopeConfig(kind, theta, factor=scaling["factor"])
    return RopeConfig(
        kind,
        theta,
        factor=scaling["factor"],
        low_freq_factor=scaling["low_freq_factor"],
        high_freq_factor=scaling["high_freq_factor"],
        original_max_position_embeddings=scaling["original_max_position_embeddings"],
    )


def _eos(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
