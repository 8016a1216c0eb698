"""Where adapters touch the network."""

from enum import StrEnum
from typing import Protocol

from torch import Tensor

from chorus_engine.core.spec import EMBEDDING, HEAD, LinearModule
from chorus_engine.model.config import ModelConfig


class Site(StrEnum):
    """The products of a layer, and outside the layers the embedding and the head.

    Modules of one site read the same input and write side by side.
    """

    QKV = "qkv"
    OUTPUT = "output"
    GATE_UP = "gate_up"
    DOWN = "down"
    EMBEDDING = "embedding"
    HEAD = "head"


class Product(Protocol):
    def __call__(self, x: Tensor, onto: Tensor | None = None, *, beside: bool = False) -> Tensor:
        """x: [tokens, in]; the result is [tokens, out]. With `onto` it is added to that, in place.

        beside: something else runs on the device meanwhile and needs room.
        """


class LoraStep(Protocol):
    """The adapters of one step's tokens."""

    def apply(self, product: Product, x: Tensor, layer: int, site: Site) -> tuple[Tensor, Tensor | None]:
        """The product of x with the base's weight, and what each token's adapter adds to it: in it, or beside it.

        x: [tokens, in]; the results are [tokens, out].
        """

    def embed(self, ids: Tensor, x: Tensor) -> None:
        """Adds to each token's embedding what its adapter makes of the token's id, in place.

        ids: [tokens] int32; x: [tokens, hidden].
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


def outer_sites(config: ModelConfig) -> dict[Site, tuple[LinearModule, ...]]:
    """Those outside the layers. One as good as tied to the other in the base has LoRA of its own."""
    hidden, vocab = config.hidden_size, config.vocab_size
    return {
        Site.EMBEDDING: (LinearModule(EMBEDDING, vocab, hidden),),
        Site.HEAD: (LinearModule(HEAD, hidden, vocab),),
    }
