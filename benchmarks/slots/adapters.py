"""Random adapters for the demo's model, of S-LoRA's ranks, each strong enough to change nearly every answer."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from benchmarks.slots.trace import rank_of
from tests.support.adapters import BASE, HIDDEN, LAYERS, QUERY, VALUE, Adapter, random_weights

SMALL = ("q_proj", "v_proj")
STRENGTH = 0.3  # standard deviation of A and B
INTERMEDIATE = int(BASE["intermediate_size"])
# (outputs, inputs) of each module; its place in the layer.
MODULES = {
    "self_attn.q_proj": (QUERY, HIDDEN),
    "self_attn.k_proj": (VALUE, HIDDEN),
    "self_attn.v_proj": (VALUE, HIDDEN),
    "self_attn.o_proj": (HIDDEN, QUERY),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}


def small(index: int) -> Adapter:
    """On q_proj and v_proj, of the trace's rank for this index."""
    rank = rank_of(index)
    return Adapter(_config(rank, SMALL), save(random_weights(index, rank)))


def large(seed: int, rank: int = 64) -> Adapter:
    """On every module: 3.9 MB at rank 64."""
    draw = np.random.default_rng(1_000_000 + seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return (STRENGTH / 4 * draw.standard_normal(shape)).astype(np.float32)

    weights = {}
    for layer in range(LAYERS):
        for module, (outputs, inputs) in MODULES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            weights[f"{name}.lora_A.weight"] = matrix(rank, inputs)
            weights[f"{name}.lora_B.weight"] = matrix(outputs, rank)
    return Adapter(_config(rank, [name.rpartition(".")[2] for name in MODULES]), save(weights))


def write(adapter: Adapter, folder: Path) -> None:
    """As PEFT reads it."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_bytes(adapter.config)
    (folder / "adapter_model.safetensors").write_bytes(adapter.weights)


def _config(rank: int, modules: Sequence[str]) -> bytes:
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": list(modules)}
    return json.dumps(config).encode()
