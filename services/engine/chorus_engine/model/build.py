"""A decoder out of named tensors."""

import torch
from torch import Tensor

from chorus_engine.core.spec import OUTER_LAYER, LinearModule
from chorus_engine.model.config import ModelConfig
from chorus_engine.model.decoder import Decoder, Layer
from chorus_engine.model.linear import DenseLinear
from chorus_engine.model.lora import Site, lora_sites
from chorus_engine.model.rope import inverse_frequencies
from chorus_engine.model.weights import Fetch
from chorus_kernels.rotary import rotation_table


def build(config: ModelConfig, fetch: Fetch, positions: int, dtype: torch.dtype, device: torch.device) -> Decoder:
    """positions: how many the rotation table covers, the longest sequence that will be asked for."""
    table = (config.vocab_size, config.hidden_size)
    embedding = fetch("model.embed_tokens.weight", table)
    head = embedding if config.tied_head else fetch("lm_head.weight", table)
    return Decoder(
        config=config,
        embedding=embedding,
        layers=tuple(_layer(config, fetch, index) for index in range(config.num_layers)),
        norm=fetch("model.norm.weight", (config.hidden_size,)),
        head=DenseLinear(head, None, OUTER_LAYER, Site.HEAD),
        rotation=rotation_table(inverse_frequencies(config.rope, config.head_dim), positions, dtype).to(device),
    )


def _layer(config: ModelConfig, fetch: Fetch, index: int) -> Layer:
    prefix, hidden = f"model.layers.{index}.", (config.hidden_size,)
    biased = {
        Site.QKV: config.qkv_bias,
        Site.OUTPUT: config.output_bias,
        Site.GATE_UP: config.mlp_bias,
        Site.DOWN: config.mlp_bias,
    }
    linear = {
        site: _linear(fetch, prefix, modules, index, site, bias=biased[site])
        for site, modules in lora_sites(config).items()
    }
    return Layer(
        input_norm=fetch(f"{prefix}input_layernorm.weight", hidden),
        qkv=linear[Site.QKV],
        qk_norm=_qk_norm(config, fetch, prefix) if config.qk_norm else None,
        output=linear[Site.OUTPUT],
        mlp_norm=fetch(f"{prefix}post_attention_layernorm.weight", hidden),
        gate_up=linear[Site.GATE_UP],
        down=linear[Site.DOWN],
    )


def _linear(
    fetch: Fetch, prefix: str, modules: tuple[LinearModule, ...], layer: int, site: Site, *, bias: bool
) -> DenseLinear:
    """The modules of a site, stacked into one product."""
    weights = [fetch(f"{prefix}{m.path}.weight", (m.out_features, m.in_features)) for m in modules]
    biases = [fetch(f"{prefix}{m.path}.bias", (m.out_features,)) for m in modules] if bias else None
    return DenseLinear(torch.cat(weights), None if biases is None else torch.cat(biases), layer, site)


def _qk_norm(config: ModelConfig, fetch: Fetch, prefix: str) -> Tensor:
    """The norms' weights a head: [heads + kv_heads, head_dim]."""
    shape = (config.head_dim,)
    query = fetch(f"{prefix}self_attn.q_norm.weight", shape).expand(config.num_heads, -1)
    key = fetch(f"{prefix}self_attn.k_norm.weight", shape).expand(config.num_kv_heads, -1)
    return torch.cat((query, key))
