"""A small base and adapters for it, as an uploader would have them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from chorus_adapter_store.values import CONFIG_FILE, EMBEDDING, HEAD, WEIGHTS_FILE, BaseSpec, LinearModule

BASE = BaseSpec(
    name="demo",
    digest="ba5e" * 16,
    architecture="LlamaForCausalLM",
    dtype="float32",
    num_layers=2,
    hidden_size=32,
    vocab_size=128,
    modules=(
        LinearModule("self_attn.q_proj", 32, 32),
        LinearModule("self_attn.k_proj", 32, 16),
        LinearModule("self_attn.v_proj", 32, 16),
        LinearModule("self_attn.o_proj", 32, 32),
        LinearModule("mlp.gate_proj", 32, 64),
        LinearModule("mlp.up_proj", 32, 64),
        LinearModule("mlp.down_proj", 64, 32),
    ),
)
WHOLE_BASE = replace(BASE, outer_modules=(LinearModule(EMBEDDING, 128, 32), LinearModule(HEAD, 32, 128)))
Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Upload:
    config: Mapping[str, object]
    tensors: Tensors = field(repr=False)
    metadata: Mapping[str, str] | None = None

    def with_config(self, **changes: object) -> "Upload":
        return replace(self, config={**self.config, **changes})

    def with_tensors(self, **changes: "Array | None") -> "Upload":
        """Replace tensors by the end of their name, dots written as two underscores; None drops one."""
        tensors = dict(self.tensors)
        for end, value in changes.items():
            (name,) = [each for each in tensors if each.endswith(end.replace("__", "."))]
            if value is None:
                del tensors[name]
            else:
                tensors[name] = value
        return replace(self, tensors=tensors)

    @property
    def config_bytes(self) -> bytes:
        return json.dumps(self.config).encode()

    @property
    def weights_bytes(self) -> bytes:
        return save(self.tensors, dict(self.metadata) if self.metadata else None)

    def write(self, folder: Path) -> tuple[Path, Path]:
        config, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
        config.write_bytes(self.config_bytes)
        weights.write_bytes(self.weights_bytes)
        return config, weights


def tensor_name(layer: int, path: str, side: str) -> str:
    return f"base_model.model.model.layers.{layer}.{path}.lora_{side}.weight"


def make_upload(
    *targets: str, rank: int = 4, seed: int = 0, base: BaseSpec = BASE, dtype: type = np.float32, **config: object
) -> Upload:
    """An adapter of `rank` on the modules whose path ends with one of `targets` (q_proj and v_proj unless given)."""
    wanted = targets or ("q_proj", "v_proj")
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in range(base.num_layers):
        for module in base.modules:
            if module.path.rpartition(".")[2] in wanted:
                a: Array = random.normal(size=(rank, module.in_features)).astype(dtype)
                b: Array = random.normal(size=(module.out_features, rank)).astype(dtype)
                tensors |= {tensor_name(layer, module.path, "A"): a, tensor_name(layer, module.path, "B"): b}
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": list(wanted)}
    return Upload({**settings, **config}, tensors, {"format": "pt"})
