"""Adapters as PEFT itself writes them, for a Llama made here."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import CONFIG_FILE, EMBEDDING, HEAD, WEIGHTS_FILE, AdapterFacts, BaseSpec
from tests.adapter_store.support import BASE, WHOLE_BASE


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_model(*, tied: bool) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=128,
            tie_word_embeddings=tied,
        )
    )


def save_adapter(
    folder: Path, dtype: torch.dtype, *, tied: bool = False, save_embedding_layers: Any = False, **settings: Any
) -> Path:
    model = get_peft_model(make_model(tied=tied).to(dtype), LoraConfig(**settings), autocast_adapter_dtype=False)
    model.save_pretrained(str(folder), save_embedding_layers=save_embedding_layers)
    return folder


def check(folder: Path, base: BaseSpec = BASE) -> AdapterFacts:
    return check_adapter(folder / CONFIG_FILE, folder / WEIGHTS_FILE, base, Limits())


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
        ({"r": 4, "target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"], "layers_to_transform": [1]}, 4, 2),
    ],
)
def test_what_peft_saves_is_accepted(
    tmp_path: Path, settings: dict[str, Any], rank: int, modules: int, dtype: torch.dtype
) -> None:
    facts = check(save_adapter(tmp_path, dtype, **settings))
    assert (facts.rank, len(facts.modules)) == (rank, modules)


OUTER: list[tuple[dict[str, Any], int, int, set[str]]] = [  # settings, rank, modules, those outside the layers
    ({"target_modules": ["lm_head"]}, 4, 1, {HEAD}),
    ({"target_modules": ["q_proj", "embed_tokens"]}, 4, 3, {EMBEDDING}),
    ({"target_modules": ["model.embed_tokens", "lm_head"], "use_rslora": True}, 4, 2, {EMBEDDING, HEAD}),
    ({"target_modules": r".*(v_proj|lm_head|embed_tokens)", "rank_pattern": {"lm_head": 32}}, 32, 4, {EMBEDDING, HEAD}),
    (
        {"target_modules": ["lm_head", "embed_tokens"], "rank_pattern": {"model.embed_tokens": 9, "head": 5}},
        9,
        2,
        {EMBEDDING, HEAD},
    ),
    ({"target_modules": "all-linear"}, 4, 14, set()),
    ({"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]}, 4, 2, set()),
    ({"target_modules": r".*(q_proj|embed_tokens)", "exclude_modules": ".*tokens"}, 4, 2, set()),
    # Full names are meant whatever the layers; other names reach into the layers only.
    ({"target_modules": ["q_proj", "lm_head", "embed_tokens"], "layers_to_transform": [1]}, 4, 2, {HEAD}),
    ({"target_modules": ["k_proj", "model.embed_tokens"], "layers_to_transform": 0}, 4, 2, {EMBEDDING}),
    ({"target_modules": ["lm_head"], "ensure_weight_tying": True, "tied": True}, 4, 2, {EMBEDDING, HEAD}),
    ({"target_modules": ["lm_head", "v_proj"], "ensure_weight_tying": True}, 4, 3, {HEAD}),
]


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about what tying may lead to
@pytest.mark.parametrize(("settings", "rank", "modules", "outside"), OUTER)
def test_modules_outside_the_layers_are_those_that_peft_adapts(
    tmp_path: Path, settings: dict[str, Any], rank: int, modules: int, outside: set[str]
) -> None:
    facts = check(save_adapter(tmp_path, torch.float32, r=4, **settings), WHOLE_BASE)
    assert (facts.rank, len(facts.modules)) == (rank, modules)
    assert {EMBEDDING, HEAD}.intersection(facts.modules) == outside


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about what it saves besides
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"target_modules": ["lm_head"], "save_embedding_layers": "auto"}, "lm_head.base_layer.weight"),
        ({"target_modules": ["embed_tokens"], "save_embedding_layers": "auto"}, "embed_tokens.base_layer.weight"),
        ({"target_modules": ["q_proj"], "save_embedding_layers": True}, "lm_head.weight"),
    ],
)
def test_whole_matrices_of_a_base_that_nobody_told_of_are_refused_with_the_remedy(
    tmp_path: Path, settings: dict[str, Any], name: str
) -> None:
    folder = save_adapter(tmp_path, torch.float32, r=4, **settings)
    with pytest.raises(InvalidArgument) as caught:
        check(folder, WHOLE_BASE)
    assert name in str(caught.value)
    assert "save_pretrained(..., save_embedding_layers=False)" in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about what it saves besides
@pytest.mark.parametrize("trained", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("targets", "saved", "names"),
    [
        (["lm_head"], "auto", {"lm_head.base_layer"}),
        (["embed_tokens"], "auto", {"model.embed_tokens.base_layer"}),
        (["lm_head", "embed_tokens"], "auto", {"lm_head.base_layer", "model.embed_tokens.base_layer"}),
        (r".*(q_proj|lm_head)", "auto", {"lm_head.base_layer"}),
        (["model.embed_tokens", "v_proj"], True, {"model.embed_tokens.base_layer", "lm_head"}),
        (["q_proj"], True, {"model.embed_tokens", "lm_head"}),
    ],
)
def test_a_save_with_the_bases_own_matrices_is_as_one_without(
    tmp_path: Path, targets: Any, saved: Any, names: set[str], tied: bool, trained: torch.dtype
) -> None:
    """The base is a checkpoint in float32, whose engine tells the digests of its matrices in each dtype."""
    facts = []
    for save_embedding_layers in (False, saved):
        torch.manual_seed(0)
        settings = {"r": 4, "target_modules": targets}
        save_adapter(tmp_path, trained, tied=tied, save_embedding_layers=save_embedding_layers, **settings)
        facts.append(check(tmp_path, told_of(tied=tied)))
    assert facts[0] == facts[1]
    with safe_open(tmp_path / WEIGHTS_FILE, "pt") as file:
        tensors = set(file.keys())
    assert {f"base_model.model.{name}.weight" for name in names} == {name for name in tensors if ".lora_" not in name}


def told_of(*, tied: bool) -> BaseSpec:
    torch.manual_seed(0)
    model = make_model(tied=tied)
    matrices = {EMBEDDING: model.model.embed_tokens.weight, HEAD: model.lm_head.weight}
    return replace(
        WHOLE_BASE,
        outer_modules=tuple(
            replace(
                module,
                weight_sha256={
                    name: hashlib.sha256(matrices[module.path].detach().to(dtype).view(torch.uint8).numpy()).hexdigest()
                    for name, dtype in (("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16))
                },
            )
            for module in WHOLE_BASE.outer_modules
        ),
    )


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about what is refused here
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        (
            {"target_modules": ["q_proj", "lm_head"]},
            "target_modules reaches lm_head, and base 'demo' is served without",
        ),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "target_modules reaches embed_tokens"),
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
