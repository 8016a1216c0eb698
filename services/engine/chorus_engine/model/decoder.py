"""The decoder that Llama, Mistral, Qwen2 and Qwen3 share; what sets them apart is in ModelConfig."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from chorus_engine.model.attention import Attention
from chorus_engine.model.config import ModelConfig
from chorus_engine.model.linear import Linear
from chorus_engine.model.lora import LoraStep
from chorus_kernels.linear import linear
from chorus_kernels.rms_norm import add_rms_norm, rms_norm
from chorus_kernels.rotary import rotary_store
from chorus_kernels.silu_mul import silu_mul


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The tokens of one step, rows one after the other."""

    token_ids: Tensor  # [tokens] int64
    positions: Tensor  # [tokens] int64
    slots: Tensor  # [tokens] int64, where their keys and values go in the cache
    cache: tuple[Tensor, ...]  # a layer each: [slots, 2, kv_heads, head_dim]
    attention: Attention
    lora: LoraStep | None  # None where no token has an adapter


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
    head: Tensor  # [vocab, hidden], packed
    rotation: Tensor  # [positions, 2, head_dim]

    def hidden(self, step: ModelInput) -> Tensor:
        """The last layer's output before the final norm: [tokens, hidden]. Writes the cache."""
        eps = self.config.norm_eps
        rotation = self.rotation[step.positions]  # [tokens, 2, head_dim]
        residual = F.embedding(step.token_ids, self.embedding)  # [tokens, hidden]
        x = None
        for layer, cache in zip(self.layers, step.cache, strict=True):
            norm = layer.input_norm
            x = rms_norm(residual, norm, eps) if x is None else add_rms_norm(x, residual, norm, eps)
            x = self._attend(layer, x, rotation, cache, step)
            x = add_rms_norm(x, residual, layer.mlp_norm, eps)
            x = layer.down(silu_mul(layer.gate_up(x, step.lora)), step.lora)
        return residual if x is None else residual.add_(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [rows, hidden], of `hidden`; the result is [rows, vocab]."""
        return linear(rms_norm(hidden, self.norm, self.config.norm_eps), self.head)

    def _attend(self, layer: Layer, x: Tensor, rotation: Tensor, cache: Tensor, step: ModelInput) -> Tensor:
        head_dim = self.config.head_dim
        qkv = layer.qkv(x, step.lora).view(len(x), -1, head_dim)  # [tokens, heads + 2 * kv_heads, head_dim]
        if layer.qk_norm is not None:
            rotated = qkv[:, : len(layer.qk_norm)]  # query and key heads
            rotated.copy_(F.rms_norm(rotated, (head_dim,), None, self.config.norm_eps) * layer.qk_norm)
        query = rotary_store(qkv, rotation, step.slots, cache)  # [tokens, heads, head_dim]
        output = step.attention(query, cache, head_dim**-0.5)  # [tokens, heads, head_dim]
        return layer.output(output.flatten(1), step.lora)
