"""What is timed: one operation on one size, over as many sets of weights as keep the card's cache from serving them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.workloads import Shape

BEYOND_CACHE = 2**28  # bytes that a round of calls should read; the cache of an H200 holds 60 MB
MOST_SETS = 32


@dataclass(frozen=True, slots=True)
class Case:
    """`bytes` and `flops` are one call's; the card's speed at that of the two which is given is what it is held to."""

    op: str
    what: str
    calls: Sequence[Callable[[], object]]
    bytes: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """The model's sizes, and where its tensors are."""

    hidden: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    layers: int
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, shape: Shape, device: torch.device) -> "World":
        config = shape.config
        return cls(
            hidden=config["hidden_size"],
            width=config["intermediate_size"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            vocab=config["vocab_size"],
            layers=config["num_hidden_layers"],
            device=device,
            dtype=getattr(torch, config["torch_dtype"]),
        )

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def cached(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def sites(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """(in, out of each module) of the products of a layer."""
        return {
            "qkv": (self.hidden, (self.query, self.cached, self.cached)),
            "output": (self.query, (self.hidden,)),
            "gate_up": (self.hidden, (self.width, self.width)),
            "down": (self.width, (self.hidden,)),
        }

    @property
    def item(self) -> int:
        return self.dtype.itemsize

    def draw(self, *shape: int, deviation: float = 1.0) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device).normal_(0, deviation)

    def ints(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self.device)

    def sets(self, size: float) -> int:
        """Of tensors of so many bytes, the number that is beyond the cache."""
        if self.device.type != "cuda":
            return 1
        return int(min(MOST_SETS, max(2, -(-BEYOND_CACHE // max(1, int(size))))))
