"""Where adapters touch the network."""

from enum import StrEnum
from typing import Protocol

from torch import Tensor

from chorus_engine.core.spec import LinearModule
from chorus_engine.model.config import ModelConfig


class Site(StrEnum):
    """The products of a layer. Modules of one site read the same input and write side by side."""

    QKV = "qkv"
    OUTPUT = "output"
    GATE_UP = "gate_up"
    DOWN = "down"


class LoraStep(Protocol):
    """The adapters of one step's tokens."""

    def add(self, y: Tensor, x: Tensor, layer: int, site: Site) -> None:
        """y[t] += what token t's adapter adds at this site for input x[t], in place.

        y: [tokens, out]; x: [tokens, in].
        """


def lora_sites(config: ModelConfig) -> dict[Site, tuple[LinearModule, ...]]:
    hidden, width = config.hidden_size, config.intermediate_size
    query, cached = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        Site.QKV: (
            LinearModule("self_attn.q_proj", hidden, query),
            LinearModule("self_attn.k_proj", hidden, cached),
            LinearModule("self_attn.v_proj", hidden, cached),
        ),
        Site.OUTPUT: (LinearModule("self_attn.o_proj", query, hidden),),
        Site.GATE_UP: (
            LinearModule("mlp.gate_proj", hidden, width),
            LinearModule("mlp.up_proj", hidden, width),
        ),
        Site.DOWN: (LinearModule("mlp.down_proj", width, hidden),),
    }
