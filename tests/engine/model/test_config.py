import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import MistralConfig, Qwen3Config

from chorus_engine.core.errors import StartError
from chorus_engine.model.config import read_config

Write = Callable[..., Path]


def test_reads_a_llama(write: Write) -> None:
    config = read_config(write(attention_bias=True, mlp_bias=True))
    assert (config.head_dim, config.num_kv_heads, config.dtype, config.eos_token_ids) == (8, 1, "bfloat16", (2,))
    assert config.qkv_bias
    assert config.output_bias
    assert config.mlp_bias
    assert config.tied_head
    assert config.sliding_window is None


def test_families_differ_where_they_should(write: Write) -> None:
    qwen2 = read_config(write(architectures=["Qwen2ForCausalLM"], use_sliding_window=False, sliding_window=64))
    assert (qwen2.qkv_bias, qwen2.output_bias, qwen2.qk_norm, qwen2.sliding_window) == (True, False, False, None)
    qwen3 = read_config(write(architectures=["Qwen3ForCausalLM"], head_dim=32))
    assert (qwen3.qkv_bias, qwen3.qk_norm, qwen3.head_dim) == (False, True, 32)
    mistral = read_config(write(architectures=["MistralForCausalLM"], sliding_window=64))
    assert (mistral.qkv_bias, mistral.sliding_window) == (False, 64)


def test_what_a_config_leaves_out_is_the_default_of_transformers(write: Write) -> None:
    assert read_config(write(architectures=["MistralForCausalLM"])).sliding_window == MistralConfig().sliding_window
    assert read_config(write(architectures=["Qwen3ForCausalLM"])).head_dim == Qwen3Config().head_dim


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported"),
        ({"architectures": None}, "none is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' is not supported"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config="),
        ({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True}, "use_sliding_window=True"),
        ({"architectures": ["MistralForCausalLM"], "attention_bias": True}, "attention_bias=True"),
        ({"vocab_size": None}, "has no field 'vocab_size'"),
    ],
)
def test_refuses_by_name(write: Write, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        read_config(write(**changes))


def test_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="does not exist"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StartError, match="cannot be read as JSON"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(StartError, match="no JSON object"):
        read_config(tmp_path)


def test_both_spellings_of_rope(write: Write) -> None:
    llama3 = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    old = read_config(write(rope_theta=5e5, rope_scaling={"rope_type": "llama3", **llama3})).rope
    new = read_config(write(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **llama3})).rope
    assert old == new
    assert (new.theta, new.factor, new.original_max_position_embeddings) == (5e5, 8.0, 64)
    assert read_config(write(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0})).rope.factor == 2.0


def test_the_generation_config_knows_better_what_ends_a_text(write: Write) -> None:
    folder = write()
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    assert read_config(folder).eos_token_ids == (3, 4)
    (folder / "generation_config.json").write_text("{}")
    assert read_config(folder).eos_token_ids == (2,)
