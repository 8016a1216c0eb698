"""Adapters as PEFT itself writes them, for a Llama made here."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts
from tests.adapter_store.support import BASE


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def save_adapter(folder: Path, dtype: torch.dtype, **settings: Any) -> Path:
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=128,
        )
    )
    model = model.to(dtype)
    get_peft_model(model, LoraConfig(**settings), autocast_adapter_dtype=False).save_pretrained(str(folder))
    return folder


def check(folder: Path) -> AdapterFacts:
    return check_adapter(folder / CONFIG_FILE, folder / WEIGHTS_FILE, BASE, Limits())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("settings", "rank", "modules"),
    [
        ({"r": 4, "target_modules": ["q_proj", "v_proj"]}, 4, 4),
        ({"r": 16, "target_modules": "all-linear", "use_rslora": True}, 16, 14),
        ({"r": 8, "target_modules": r".*\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj", "task_type": "CAUSAL_LM"}, 8, 14),
        ({"r": 8, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]}, 8, 2),
        ({"r": 8, "target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"}, 8, 1),
        (
            {
                "r": 8,
                "target_modules": ["q_proj", "v_proj"],
                "rank_pattern": {"layers.0.self_attn.q_proj": 2, r"^model.layers.\d.self_attn.v_proj": 32},
                "alpha_pattern": {"v_proj": 64},
            },
            32,
            4,
        ),
        ({"r": 4, "target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*layers\.1.*"}, 4, 2),
        ({"r": 4, "target_modules": ["o_proj"], "init_lora_weights": "gaussian", "lora_dropout": 0.1}, 4, 2),
    ],
)
def test_what_peft_saves_is_accepted(
    tmp_path: Path, settings: dict[str, Any], rank: int, modules: int, dtype: torch.dtype
) -> None:
    facts = check(save_adapter(tmp_path, dtype, **settings))
    assert (facts.rank, len(facts.modules)) == (rank, modules)


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about what is refused here
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"target_modules": ["q_proj", "lm_head"]}, "'lm_head', which this version does not support"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "'embed_tokens', which this version does not support"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices is"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"r": 128}, "r is 128: the largest rank allowed is 64"),
    ],
)
def test_what_is_not_served_is_refused_by_name(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    folder = save_adapter(tmp_path, torch.float32, **{"r": 4, "target_modules": ["q_proj"], **settings})
    with pytest.raises(InvalidArgument) as caught:
        check(folder)
    assert words in str(caught.value)
