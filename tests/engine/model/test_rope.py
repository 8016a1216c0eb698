import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from chorus_engine.model.config import RopeConfig
from chorus_engine.model.rope import inverse_frequencies


@pytest.mark.parametrize(
    "rope",
    [
        RopeConfig("default", 10000.0),
        RopeConfig("linear", 1e6, factor=4.0),
        RopeConfig("llama3", 5e5, 8.0, 1.0, 4.0, 8192),
        RopeConfig("llama3", 1e4, 32.0, 1.0, 4.0, 64),
    ],
)
@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_frequencies_are_those_of_transformers(rope: RopeConfig, head_dim: int) -> None:
    scaling = {
        "rope_type": rope.type,
        "rope_theta": rope.theta,
        "factor": rope.factor,
        "low_freq_factor": rope.low_freq_factor,
        "high_freq_factor": rope.high_freq_factor,
        "original_max_position_embeddings": rope.original_max_position_embeddings,
    }
    if rope.type != "llama3":
        scaling = {name: scaling[name] for name in ("rope_type", "rope_theta", "factor")}
    if rope.type == "default":
        del scaling["factor"]
    config = LlamaConfig(hidden_size=4 * head_dim, num_attention_heads=4, rope_parameters=scaling)
    theirs = LlamaRotaryEmbedding(config).inv_freq
    assert isinstance(theirs, torch.Tensor)
    torch.testing.assert_close(inverse_frequencies(rope, head_dim), theirs, rtol=1e-6, atol=0)
