"""The decoder that Llama, Mistral, Qwen2 and Qwen3 share; what sets them apart is in ModelConfig."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from chorus_engine.model.attention import Attention
from chorus_engine.model.config import ModelConfig
from chorus_engine.model.linear import Linear
from chorus_engine.model.lora import LoraStep
from chorus_kernels.rms_norm import add_rms_norm, rms_norm
from chorus_kernels.rotary import rotary_store
from chorus_kernels.silu_mul import silu_mul


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tokens whose output somebody reads: of a prompt, the last one."""

    tokens: Tensor  # [rows] int64, none possible
    lora: LoraStep | None  # the adapters of these tokens


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The tokens of one step, rows one after the other."""

    token_ids: Tensor  # [tokens] int64
    positions: Tensor  # [tokens] int64
    slots: Tensor  # [tokens] int64, where their keys and values go in the cache
    cache: tuple[Tensor, ...]  # a layer each: [slots, 2, kv_heads, head_dim]
    attention: Attention
    lora: LoraStep | None  # None where no token has an adapter
    wanted: Wanted | None = None  # None: every token


@dataclass(frozen=True, slots=True)
class Layer:
    input_norm: Tensor  # [hidden]
    qkv: Linear
    qk_norm: Tensor | None  # [heads + kv_heads, head_dim]
    output: Linear
    mlp_norm: Tensor  # [hidden]
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Decoder:
    config: ModelConfig
    embedding: Tensor  # [vocab, hidden]
    layers: tuple[Layer, ...]
    norm: Tensor  # [hidden]
    head: Linear
    rotation: Tensor  # [positions, 2, head_dim]

    def hidden(self, step: ModelInput) -> "Hidden | None":
        """Through all layers; the last one is computed to its end for wanted tokens only. Writes the cache.

        None when no token is wanted.
        """
        config, eps, lora = self.config, self.config.norm_eps, step.lora
        residual = F.embedding(step.token_ids, self.embedding)
        if lora is not None:
            lora.embed(step.token_ids, residual)
        rotation = self.rotation[step.positions]  # [tokens, 2, head_dim]
        x, delta = None, None
        for layer, cache in zip(self.layers, step.cache, strict=True):
            norm = layer.input_norm
            x = rms_norm(residual, norm, eps) if x is None else add_rms_norm(x, residual, norm, eps, delta)
            query = self._store(layer, x, rotation, cache, step)  # [tokens, heads, head_dim]
            wanted = step.wanted if layer is self.layers[-1] else None
            if wanted is not None and not len(wanted.tokens):
                return None
            x = step.attention(query, cache, config.head_dim**-0.5).flatten(1)
            if wanted is not None:
                x, residual, lora = x.index_select(0, wanted.tokens), residual[wanted.tokens], wanted.lora
            x, delta = layer.output(x, lora)
            x = add_rms_norm(x, residual, layer.mlp_norm, eps, delta)
            gate_up, delta = layer.gate_up(x, lora)
            x, delta = layer.down(silu_mul(gate_up, delta), lora)
        assert x is not None, "a model has at least one layer"
        return Hidden(x, residual, delta)

    def normed(self, hidden: "Hidden") -> Tensor:
        """What the head reads: [tokens, hidden]. Uses `hidden` up."""
        return add_rms_norm(hidden.x, hidden.residual, self.norm, self.config.norm_eps, hidden.delta)

    def logits(self, normed: Tensor, lora: LoraStep | None = None) -> Tensor:
        """normed: [rows, hidden]; the result is [rows, vocab]. lora: the rows' adapters, if one has the head."""
        logits, delta = self.head(normed, lora)
        return logits if delta is None else logits.add_(delta)

    def _store(self, layer: Layer, x: Tensor, rotation: Tensor, cache: Tensor, step: ModelInput) -> Tensor:
        """Keys and values into the cache; the result is the query."""
        head_dim = self.config.head_dim
        qkv, delta = layer.qkv(x, step.lora)
        return rotary_store(
            qkv.view(len(x), -1, head_dim),  # [tokens, heads + 2 * kv_heads, head_dim]
            rotation,
            step.slots,
            cache,
            delta=None if delta is None else delta.view(len(x), -1, head_dim),
            qk_norm=layer.qk_norm,
            eps=self.config.norm_eps,
        )


@dataclass(frozen=True, slots=True)
class Hidden:
    """The last layer's output in its parts, which the final norm adds up. All are [tokens, hidden]."""

    x: Tensor
    residual: Tensor
    delta: Tensor | None
