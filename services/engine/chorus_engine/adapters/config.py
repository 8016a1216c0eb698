"""adapter_config.json, reduced to what scales and places the weights.

What would change the result and is not implemented is refused by name: an adapter that runs must run as it was trained.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from chorus_engine.core.errors import AdapterUnusable

MAX_CONFIG_BYTES = 1 << 20
# Patterns are regular expressions from a tenant. Names, dots, "\d" and at most two repetitions cannot backtrack far.
_PATTERN = re.compile(r"\^?(?:[A-Za-z0-9_\-.]|\\\.|\\d)(?:[A-Za-z0-9_\-.]|\\\.|\\d|(?<![*+])[*+])*\$?")
_MAX_PATTERN_LENGTH = 200
_MAX_REPETITIONS = 2
# Options of peft's LoraConfig that change the arithmetic, with the values that leave it plain LoRA.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "layer_replication": (None, []),
    "fan_in_fan_out": (None, False),
    "use_qalora": (None, False),
    "alora_invocation_tokens": (None, []),
    "target_parameters": (None, []),
    "megatron_config": (None, {}),
    "use_bdlora": (None, False),
    "arrow_config": (None,),
}


@dataclass(frozen=True, slots=True)
class LoraSettings:
    rank: int
    alpha: float
    rslora: bool
    rank_pattern: tuple[tuple[str, int], ...]
    alpha_pattern: tuple[tuple[str, float], ...]

    def rank_of(self, module: str) -> int:
        """`module` is a full path such as "model.layers.0.self_attn.q_proj"."""
        return next((rank for pattern, rank in self.rank_pattern if _matches(pattern, module)), self.rank)

    def scale_of(self, module: str) -> float:
        alpha = next((alpha for pattern, alpha in self.alpha_pattern if _matches(pattern, module)), self.alpha)
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def parse_settings(data: bytes) -> LoraSettings:
    """Raises AdapterUnusable with the field, its value and what is expected."""
    raw = _parse_object(data)
    if raw.get("peft_type") != "LORA":
        raise AdapterUnusable(f"peft_type is {raw.get('peft_type')!r}; only 'LORA' adapters can be served.")
    for field, plain in _PLAIN.items():
        if raw.get(field) not in plain:
            raise AdapterUnusable(f"{field} is {raw[field]!r}, which is not supported; train without it.")
    return LoraSettings(
        rank=_positive_int("r", raw.get("r")),
        alpha=_number("lora_alpha", raw.get("lora_alpha")),
        rslora=_flag("use_rslora", raw.get("use_rslora")),
        rank_pattern=tuple(
            (key, _positive_int(f"rank_pattern[{key!r}]", v)) for key, v in _patterns(raw, "rank_pattern")
        ),
        alpha_pattern=tuple((key, _number(f"alpha_pattern[{key!r}]", v)) for key, v in _patterns(raw, "alpha_pattern")),
    )


def _matches(pattern: str, module: str) -> bool:
    """As peft matches the keys of rank_pattern and alpha_pattern."""
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def _parse_object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_CONFIG_BYTES:
        raise AdapterUnusable(f"adapter_config.json has {len(data)} bytes; the limit is {MAX_CONFIG_BYTES}.")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterUnusable(f"adapter_config.json is not JSON: {error}.") from None
    if not isinstance(raw, dict):
        raise AdapterUnusable(f"adapter_config.json holds a {type(raw).__name__}; it must be an object.")
    return raw


def _patterns(raw: dict[str, Any], field: str) -> list[tuple[str, Any]]:
    value = raw.get(field) or {}
    if not isinstance(value, dict):
        raise AdapterUnusable(f"{field} is {value!r}; it must be an object of module patterns.")
    for key in value:
        repetitions = key.count("*") + key.count("+")
        if len(key) > _MAX_PATTERN_LENGTH or repetitions > _MAX_REPETITIONS or not _PATTERN.fullmatch(key):
            raise AdapterUnusable(
                f"{field} has the key {key[:_MAX_PATTERN_LENGTH]!r}; keys are module names, in which '.', '\\d' and at "
                f"most {_MAX_REPETITIONS} of '*' or '+' may stand for more than one module."
            )
    return list(value.items())


def _positive_int(field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AdapterUnusable(f"{field} is {value!r}; it must be a whole number of at least 1.")
    return value


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AdapterUnusable(f"{field} is {value!r}; it must be a finite number.")
    return float(value)


def _flag(field: str, value: Any) -> bool:
    if value not in (None, False, True):
        raise AdapterUnusable(f"{field} is {value!r}; it must be true or false.")
    return bool(value)
