"""The least time that the card needs for a workload, from its limits as they were measured in the same run.

A decode step reads every weight but the embedding table, every adapter of the batch and all keys and values once, at
the speed of a copy. A prompt token takes two operations a weight, and two a key and value that it attends to, at the
speed of a large product.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.workloads import Shape, Workload

ITEM = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Limits:
    copy_bytes_per_s: float  # read and written
    stream_bytes_per_s: float  # weights read by a matrix-vector product
    product_flops_per_s: float  # of a square product of 4096

    def to_json(self) -> dict[str, float]:
        return {
            "copy_tb_per_s": round(self.copy_bytes_per_s / 1e12, 3),
            "matvec_tb_per_s": round(self.stream_bytes_per_s / 1e12, 3),
            "product_4096_tflop_per_s": round(self.product_flops_per_s / 1e12, 1),
        }


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model, counted from its config."""

    layer_weights: int  # values in all layers' products
    head: int  # values
    kv_bytes: int  # a token over all layers
    query: int  # heads * head_dim over all layers
    rank_row: int  # values of one rank row of A and B, over all modules and layers
    item: int  # bytes a value

    @classmethod
    def of(cls, shape: Shape) -> "Sizes":
        config = shape.config
        layers, hidden, head_dim = config["num_hidden_layers"], config["hidden_size"], config["head_dim"]
        modules = projections(config)
        item = ITEM[config["torch_dtype"]]
        return cls(
            layer_weights=layers * sum(n_in * n_out for n_in, n_out in modules.values()),
            head=hidden * config["vocab_size"],
            kv_bytes=layers * 2 * config["num_key_value_heads"] * head_dim * item,
            query=layers * config["num_attention_heads"] * head_dim,
            rank_row=layers * sum(n_in + n_out for n_in, n_out in modules.values()),
            item=item,
        )

    @property
    def weight_bytes(self) -> int:
        """Read by each decode step."""
        return (self.layer_weights + self.head) * self.item

    def adapter_bytes(self, rank: float) -> float:
        return rank * self.rank_row * self.item


def projections(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(in, out) of each linear module of a layer."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    cached = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (hidden, query),
        "self_attn.k_proj": (hidden, cached),
        "self_attn.v_proj": (hidden, cached),
        "self_attn.o_proj": (query, hidden),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
    }


@dataclass(frozen=True, slots=True)
class Floor:
    sizes: Sizes
    limits: Limits

    def step(self, rows: int, context: float, adapters: int, rank: float) -> float:
        """Seconds of a decode step."""
        reads = self.sizes.weight_bytes + adapters * self.sizes.adapter_bytes(rank)
        return (reads + rows * context * self.sizes.kv_bytes) / self.limits.copy_bytes_per_s

    def prompt(self, tokens: int, rank: float) -> float:
        """Seconds of one prompt, its first token included."""
        per_token = 2 * (self.sizes.layer_weights + rank * self.sizes.rank_row)
        attention = 4 * self.sizes.query * tokens / 2
        return (tokens * (per_token + attention) + 2 * self.sizes.head) / self.limits.product_flops_per_s

    def seconds(self, work: Workload, rank: float) -> float:
        """Of a whole workload: its prompts, then its decode steps, as many rows each as can run at once."""
        rank = rank if work.adapters else 0.0
        prompts = work.requests * self.prompt(work.prompt, rank)
        return prompts + self.waves(work) * (work.output - 1) * self.mean_step(work, rank)

    def mean_step(self, work: Workload, rank: float) -> float:
        """Of its decode steps, with half of the output behind them."""
        rows = self.rows(work)
        adapters = min(work.adapters, -(-rows * work.adapters // work.requests))  # each has as many requests
        return self.step(rows, work.prompt + work.output / 2, adapters, rank)

    def rows(self, work: Workload) -> int:
        return min(work.requests, work.at_once)

    def waves(self, work: Workload) -> float:
        return work.requests / self.rows(work)
