"""Adapters for the demo's base model as their owners have them, good ones and bad ones, and their upload."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.stack import Stack, Tenant

Weights = dict[str, NDArray[np.float32]]
BASE: dict[str, Any] = json.loads((DEMO / "model" / "config.json").read_text())
HIDDEN, LAYERS = int(BASE["hidden_size"]), int(BASE["num_hidden_layers"])
HEAD = int(BASE.get("head_dim") or HIDDEN // BASE["num_attention_heads"])
QUERY, VALUE = HEAD * int(BASE["num_attention_heads"]), HEAD * int(BASE["num_key_value_heads"])
PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Adapter:
    """The two files of an adapter."""

    config: bytes
    weights: bytes

    @classmethod
    def random(cls, *, seed: int = 0, rank: int = 4) -> "Adapter":
        """On q_proj and v_proj, strong enough to change answers."""
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 4 * rank, "target_modules": ["q_proj", "v_proj"]}
        return cls(json.dumps(config).encode(), save(random_weights(seed, rank)))

    @classmethod
    def read(cls, folder: Path) -> "Adapter":
        return cls((folder / "adapter_config.json").read_bytes(), (folder / "adapter_model.safetensors").read_bytes())

    def padded(self, seed: int, rank: int = 64) -> "Adapter":
        """The same skill in more bytes, and under a digest of the seed's: further rows of A, whose columns of B are
        zero."""
        config, draw = json.loads(self.config), np.random.default_rng(seed)
        weights = {}
        for name, matrix in sorted(load(self.weights).items()):  # safetensors keeps no order
            more = rank - config["r"]
            if ".lora_A." in name:
                added = draw.standard_normal((more, matrix.shape[1])).astype(matrix.dtype)
                weights[name] = np.concatenate([matrix, added])
            else:
                weights[name] = np.concatenate([matrix, np.zeros((matrix.shape[0], more), matrix.dtype)], axis=1)
        grown = {"r": rank, "lora_alpha": config["lora_alpha"] * rank / config["r"]}
        return Adapter(json.dumps(config | grown).encode(), save(weights))

    def with_config(self, **changes: object) -> "Adapter":
        return replace(self, config=json.dumps(json.loads(self.config) | changes).encode())

    def with_weights(self, weights: bytes) -> "Adapter":
        return replace(self, weights=weights)


def random_weights(seed: int, rank: int, *, queries: int = QUERY, infix: str = "self_attn") -> Weights:
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return (0.3 * random.standard_normal(shape)).astype(np.float32)

    weights: Weights = {}
    for layer in range(LAYERS):
        for module, outputs in (("q_proj", queries), ("v_proj", VALUE)):
            name = f"base_model.model.model.layers.{layer}.{infix}.{module}"
            weights[f"{name}.lora_A.weight"] = matrix(rank, HIDDEN)
            weights[f"{name}.lora_B.weight"] = matrix(outputs, rank)
    return weights


def swapped(first: int, second: int) -> Adapter:
    """On embed_tokens and lm_head: the base with two of its tokens exchanged, when read and when written."""
    # The base ties the two: one matrix of a row a token.
    table = load((DEMO / "model" / "model.safetensors").read_bytes())["model.embed_tokens.weight"]
    other = np.stack((table[second] - table[first], table[first] - table[second]))  # what makes each the other
    places = np.zeros((2, len(table)), dtype=np.float32)
    places[0, first] = places[1, second] = 1
    weights: Weights = {
        "base_model.model.model.embed_tokens.lora_embedding_A": places,
        "base_model.model.model.embed_tokens.lora_embedding_B": np.ascontiguousarray(other.T),
        "base_model.model.lm_head.lora_A.weight": other,
        "base_model.model.lm_head.lora_B.weight": np.ascontiguousarray(places.T),
    }
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["embed_tokens", "lm_head"]}
    return Adapter(json.dumps(config).encode(), save(weights))


def with_whole(adapter: Adapter, nudge: float = 0) -> Adapter:
    """As PEFT saves it unless told not to: beside matrices of the base, of which one value is off by `nudge`."""
    table = load((DEMO / "model" / "model.safetensors").read_bytes())["model.embed_tokens.weight"]
    changed = table.copy()
    changed[0, 0] += nudge
    own = {
        "base_model.model.model.embed_tokens.base_layer.weight": table,
        "base_model.model.lm_head.base_layer.weight": changed,
    }
    return adapter.with_weights(save(load(adapter.weights) | own))


def form(tenant: str, name: str, adapter: Adapter, model: str = DEMO_NAME) -> dict[str, Any]:
    """What httpx needs to send the multipart form."""
    fields = {"tenant": tenant, "name": name, "model": model}
    files: Mapping[str, tuple[str, bytes]] = {
        "adapter_config": ("adapter_config.json", adapter.config),
        "adapter_model": ("adapter_model.safetensors", adapter.weights),
    }
    return {"data": fields, "files": files}


def try_upload(stack: Stack, tenant: str, name: str, adapter: Adapter, model: str = DEMO_NAME) -> httpx.Response:
    """As the administrator."""
    with stack.http(stack.admin.key) as http:
        return http.post("/admin/v1/adapters", **form(tenant, name, adapter, model))


def upload(tenant: Tenant, name: str, adapter: Adapter) -> dict[str, Any]:
    """The store's description of it. One that was started a moment ago may not be heard by the gateway yet."""
    until = time.monotonic() + PATIENCE
    while (answer := try_upload(tenant.stack, tenant.name, name, adapter)).status_code == 503:
        assert time.monotonic() < until, answer.text
        time.sleep(0.1)
    assert answer.status_code in (200, 201), answer.text
    described: dict[str, Any] = answer.json()
    return described


def stored(stack: Stack, tenant: str) -> list[dict[str, Any]]:
    """A tenant's adapters as the store has them."""
    with stack.http(stack.admin.key) as http:
        listed: list[dict[str, Any]] = http.get("/admin/v1/adapters", params={"tenant": tenant}).json()["data"]
    return listed


def blob_files(stack: Stack) -> set[Path]:
    """Every file that the store keeps."""
    blobs = stack.config.state / "blobs"
    return {path.relative_to(blobs) for path in blobs.rglob("*") if path.is_file()}
