"""Which modules a config adapts, and at which rank and alpha: what PEFT's own functions say, module by module."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits
from chorus_adapter_store.validate.lora_config import parse_config
from chorus_adapter_store.validate.targets import OUTER_NAMES, find_targets
from tests.adapter_store.support import WHOLE_BASE
from tests.support.often import often

FULL = {
    **{
        f"model.layers.{layer}.{module.path}": f"layers.{layer}.{module.path}"
        for layer in range(WHOLE_BASE.num_layers)
        for module in WHOLE_BASE.modules
    },
    **{full: path for path, full in OUTER_NAMES.items()},
}  # as PEFT knows a module → as the store does
PARTS = ("q_proj", "v_proj", "down_proj", "lm_head", "embed_tokens", "model.embed_tokens", "self_attn.k_proj")
NAMES = st.sampled_from((*PARTS, "model.layers.0.self_attn.q_proj", "layers.1.mlp.up_proj", "0.self_attn.o_proj"))
EXPRESSIONS = st.sampled_from(
    (
        ".*",
        r".*proj",
        r"model\.layers\.\d+\..*[qk]_proj",
        r".*(lm_head|embed_tokens)",
        "lm_head",
        r".*\.1\..*",
        "model.*",
    )
)
KEYS = st.sampled_from((*PARTS, r".*_proj", r"layers.0.*", r"^model.layers.\d.self_attn.q_proj$", "head", r".*tokens"))
LISTS = st.lists(NAMES, min_size=1, max_size=3, unique=True)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    targets = draw(LISTS | EXPRESSIONS)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": targets,
        "exclude_modules": draw(st.none() | LISTS | EXPRESSIONS),
        "rank_pattern": draw(st.dictionaries(KEYS, st.integers(1, 64), max_size=2)),
        "alpha_pattern": draw(st.dictionaries(KEYS, st.integers(1, 64), max_size=2)),
    }
    if isinstance(targets, list) and draw(st.booleans()):
        config["layers_to_transform"] = draw(st.sampled_from((0, 1, [0], [1], [0, 1], [])))
        if config["layers_to_transform"] != []:
            config["layers_pattern"] = draw(st.sampled_from((None, "layers", ["blocks", "layers"], "blocks")))
    return config


def as_peft_says(config: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """Module → rank and alpha."""
    theirs: Any = LoraConfig(**{name: value for name, value in config.items() if name != "peft_type"})
    return {
        ours: (
            theirs.rank_pattern.get(get_pattern_key(theirs.rank_pattern.keys(), full), theirs.r),
            theirs.alpha_pattern.get(get_pattern_key(theirs.alpha_pattern.keys(), full), theirs.lora_alpha),
        )
        for full, ours in FULL.items()
        if check_target_module_exists(theirs, full)
    }


@settings(max_examples=often(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs())
def test_targets_ranks_and_alphas_are_peft_s(config: dict[str, Any]) -> None:
    wanted = as_peft_says(config)
    limits = Limits()
    parsed = parse_config(json.dumps(config).encode(), limits)
    if not wanted:
        with pytest.raises(InvalidArgument, match="matches no module"):
            find_targets(parsed, WHOLE_BASE, limits)
        return
    found = find_targets(parsed, WHOLE_BASE, limits)
    assert {name: (target.rank, target.alpha) for name, target in found.items()} == wanted
