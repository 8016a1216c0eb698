"""The two files of an adapter against peft's arithmetic, and what is refused."""

import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from chorus_engine.adapters import AdapterFiles, Layout, convert
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER, LinearModule, ModelSpec
from tests.engine.adapters.build import LAYOUT, SPEC, config, converted, files, pair, plain_tensors

MODULES = tuple(
    LinearModule(path, *sizes)
    for path, sizes in {
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (32, 16),
        "self_attn.v_proj": (32, 16),
        "self_attn.o_proj": (32, 32),
        "mlp.gate_proj": (32, 48),
        "mlp.up_proj": (32, 48),
        "mlp.down_proj": (48, 32),
    }.items()
)
OUTER = (LinearModule(EMBEDDING, 64, 32), LinearModule(HEAD, 32, 64))
LLAMA = ModelSpec("llama", "0" * 64, "LlamaForCausalLM", "float32", 2, 32, 64, MODULES, 64, (2,), OUTER)

CONFIGS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "rslora": LoraConfig(r=8, lora_alpha=3, target_modules=["down_proj"], use_rslora=True),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "o_proj", "up_proj"],
        rank_pattern={"o_proj": 16, "layers.1.self_attn.q_proj": 2},
        alpha_pattern={"up_proj": 32, r"layers\.0\.self_attn\.q_proj": 5},
    ),
    "some layers": LoraConfig(r=4, lora_alpha=8, target_modules=["k_proj", "gate_proj"], layers_to_transform=[1]),
    "head": LoraConfig(r=4, lora_alpha=8, target_modules=["lm_head"]),
    "embedding": LoraConfig(r=4, lora_alpha=3, target_modules=["embed_tokens"], use_rslora=True),
    "outer patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*(q_proj|lm_head|embed_tokens)",
        rank_pattern={"lm_head": 16, "model.embed_tokens": 2},
        alpha_pattern={"^lm_head": 32, "embed_tokens": 5},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_give_what_peft_adds(name: str, tmp_path: Path) -> None:
    model = _peft_model(CONFIGS[name])
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    saved = AdapterFiles(
        (tmp_path / "adapter_config.json").read_bytes(), (tmp_path / "adapter_model.safetensors").read_bytes()
    )
    host = converted(saved, Layout(LLAMA, torch.float32, 64))
    expected = _deltas(model)
    assert host.weights.modules.keys() == expected.keys()
    for key, (a, b) in host.weights.modules.items():
        added = a.T @ b if key[1] == EMBEDDING else (a.T @ b).T
        torch.testing.assert_close(added, expected[key], rtol=1e-5, atol=1e-6)
    assert {(layer, path): rank for layer, path, rank in host.footprint.ranks} == {
        key: len(a) for key, (a, _) in host.weights.modules.items()
    }


@pytest.mark.filterwarnings("ignore")  # peft's own, about what it saves besides
@pytest.mark.parametrize("name", ["head", "embedding", "outer patterns", "plain"])
def test_matrices_of_the_base_beside_an_adapter_change_nothing(name: str, tmp_path: Path) -> None:
    model, layout, kept = _peft_model(CONFIGS[name]), Layout(LLAMA, torch.float32, 64), []
    for saved in (False, True):
        model.save_pretrained(str(tmp_path), save_embedding_layers=saved)
        weights = (tmp_path / "adapter_model.safetensors").read_bytes()
        assert (b".base_layer.weight" in weights or b".lm_head.weight" in weights) == saved
        host = converted(AdapterFiles((tmp_path / "adapter_config.json").read_bytes(), weights), layout)
        kept.append((host.footprint.ranks, host.weights.packed))
    assert kept[0][0] == kept[1][0]
    assert torch.equal(kept[0][1], kept[1][1])


def _peft_model(config: LoraConfig) -> PeftModel:
    torch.manual_seed(0)
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name or "lora_embedding" in parameter_name:
            nn.init.normal_(parameter)
    return model


def _deltas(model: PeftModel) -> dict[tuple[int, str], Tensor]:
    """What peft itself would merge into each weight."""
    deltas = {}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and ("default" in module.lora_A or "default" in module.lora_embedding_A):
            _, _, inside = name.partition(".layers.")
            layer, path = inside.split(".", 1) if inside else (OUTER_LAYER, name.rpartition(".")[2])
            deltas[int(layer), path] = module.get_delta_weight("default").detach()
    return deltas


def test_bytes_footprint_and_dtype_are_those_of_the_layout() -> None:
    host = converted(files(), Layout(SPEC, torch.bfloat16, 16))
    assert host.footprint.ranks == ((0, "self_attn.q_proj", 4), (1, "mlp.down_proj", 4))
    assert {tensor.dtype for both in host.weights.modules.values() for tensor in both} == {torch.bfloat16}
    assert host.bytes == 2 * (4 * 8 + 4 * 6 + 4 * 10 + 4 * 8)
    assert all(tensor.is_contiguous() for both in host.weights.modules.values() for tensor in both)


def test_rslora_scales_by_the_root_of_the_rank() -> None:
    tensors = plain_tensors()
    host = converted(files(tensors, use_rslora=True))
    _, b = host.weights.modules[0, "self_attn.q_proj"]
    raw = tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    torch.testing.assert_close(b, raw.T * (8 / math.sqrt(4)))


def test_other_bytes_than_the_digest_names_are_refused() -> None:
    good = files()
    with pytest.raises(AdapterUnusable, match=r"hash to .* upload it again"):
        convert("ab" * 32, good, LAYOUT)


BAD_TENSORS = {
    "no tensor matches": {},
    "rank 17; this engine's max_lora_rank is 16": pair("0.self_attn.q_proj", (17, 8), (6, 17)),
    "rank 2; adapter_config.json says 4": pair("0.self_attn.q_proj", (2, 8), (6, 2)),
    r"takes A \[rank, 8\] and B \[6, rank\]": pair("0.self_attn.q_proj", (4, 9), (6, 4)),
    r"A \[4, 8\] and B \[6, 3\]": pair("0.self_attn.q_proj", (4, 8), (6, 3)),
    "k_proj.* belongs to no module": pair("0.self_attn.k_proj", (4, 8), (6, 4)),
    "layers.2.* belongs to no module": pair("2.self_attn.q_proj", (4, 8), (6, 4)),
    "embed.* belongs to no module.* where CHORUS_MAX_VOCAB_ADAPTERS is not 0": {
        "base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(4, 8)
    },
    "lora_A only": {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(4, 8)},
    "not finite": {key: tensor / 0 for key, tensor in pair("0.self_attn.q_proj", (4, 8), (6, 4)).items()},
}


BAD_OUTER = {
    r"model.embed_tokens has lora_A only": {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(4, 64)},
    r"lm_head has A \[4, 32\] and B \[63, 4\]": {
        "base_model.model.lm_head.lora_A.weight": torch.zeros(4, 32),
        "base_model.model.lm_head.lora_B.weight": torch.zeros(63, 4),
    },
    "base_layer.bias' belongs to no module.* outside of them it has embed_tokens, lm_head": {
        "base_model.model.lm_head.base_layer.bias": torch.zeros(64, 32)
    },
    r"base_layer.weight is \[65, 32\]; llama has \[64, 32\], and another vocabulary is not supported": {
        "base_model.model.lm_head.base_layer.weight": torch.zeros(65, 32)
    },
    "no tensor matches a module of llama": {"base_model.model.lm_head.weight": torch.zeros(64, 32)},
}


@pytest.mark.parametrize("reason", BAD_OUTER)
def test_tensors_outside_the_layers_that_do_not_fit_are_named(reason: str) -> None:
    with pytest.raises(AdapterUnusable, match=reason):
        converted(files(BAD_OUTER[reason]), Layout(LLAMA, torch.float32, 64))


@pytest.mark.parametrize("reason", BAD_TENSORS)
def test_tensors_that_do_not_fit_are_named(reason: str) -> None:
    with pytest.raises(AdapterUnusable, match=reason):
        converted(files(BAD_TENSORS[reason]))


BAD_CONFIGS = {
    "peft_type is 'IA3'": config(peft_type="IA3"),
    "use_dora is True": config(use_dora=True),
    "bias is 'all'": config(bias="all"),
    "modules_to_save is": config(modules_to_save=["lm_head"]),
    "trainable_token_indices is": config(trainable_token_indices=[1]),
    "r is 0": config(r=0),
    "r is True": config(r=True),
    "lora_alpha is 'big'": config(lora_alpha="big"),
    "lora_alpha is inf": config(lora_alpha=float("inf")),
    "use_rslora is 'yes'": config(use_rslora="yes"),
    "rank_pattern is": config(rank_pattern=["q_proj"]),
    r"alpha_pattern has the key '\(a\+\)\+b'": config(alpha_pattern={"(a+)+b": 1}),
    r"rank_pattern has the key '\.\*\.\*\.\*'": config(rank_pattern={".*.*.*": 1}),
    "is not JSON": b"{",
    "holds a list": b"[]",
    "the limit is": b" " * ((1 << 20) + 1),
}


@pytest.mark.parametrize("reason", BAD_CONFIGS)
def test_settings_that_would_change_the_result_are_refused(reason: str) -> None:
    with pytest.raises(AdapterUnusable, match=reason):
        converted(AdapterFiles(BAD_CONFIGS[reason], files().model))
