"""adapter_config.json, reduced to what decides the answer. What is not supported is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.strictjson import parse_object
from chorus_adapter_store.values import CONFIG_FILE

_Entries = Mapping[str, object]

# Fields that say how training went, or where the weights came from; they do not change what the weights mean.
_HARMLESS = frozenset(
    {
        "auto_mapping",  # which class of transformers was trained; nothing here loads it
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    }
)
_HONOURED = frozenset(
    {
        "alpha_pattern",
        "ensure_weight_tying",
        "exclude_modules",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "use_rslora",
    }
)
_WHY: Mapping[str, str] = {
    "alora_invocation_tokens": "activated LoRA is not supported",
    "auto_map": "code in an adapter is never run",
    "bias": "trained biases are not supported; train with bias='none'",
    "fan_in_fan_out": "weights stored as (in, out) are not supported; save them as (out, in)",
    "layer_replication": "replicated layers are not supported",
    "lora_bias": "a bias on lora_B is not supported",
    "megatron_config": "Megatron layers are not supported",
    "modules_to_save": "fully trained modules are not supported; train LoRA alone",
    "target_parameters": "LoRA on parameters is not supported; use target_modules",
    "trainable_token_indices": "trained or added tokens are not supported",
    "use_dora": "DoRA is not supported; train with use_dora=false",
    "use_qalora": "QA-LoRA is not supported",
}
# Other initialisations (pissa, olora, corda, loftq ...) also change the base's weights, which are shared here.
_INITIALISATIONS = (None, True, False, "gaussian", "eva", "orthogonal")

_LARGEST_ALPHA = 1_000_000
_LONGEST_FIELD = 80  # characters; longer ones are cut short in messages


@dataclass(frozen=True, slots=True)
class LoraConfig:
    rank: int
    alpha: float
    targets: str | tuple[str, ...]  # a regular expression over full module names, or names and ends of names
    excluded: str | tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None  # None: every layer
    layers_pattern: tuple[str, ...] = ()
    rslora: bool = False
    rank_pattern: tuple[tuple[str, int], ...] = ()  # the first expression that matches a module's name wins
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    tied: bool = False  # where the base ties embedding and head, LoRA on one brings its like on the other


def parse_config(data: bytes, limits: Limits) -> LoraConfig:
    """Raises InvalidArgument naming the field, its value and what is allowed."""
    entries = parse_object(CONFIG_FILE, data, max_entries=limits.max_patterns)
    if entries.get("peft_type") != "LORA":
        raise _wrong("peft_type", entries.get("peft_type"), "only LORA is supported")
    _refuse_unsupported(entries)
    rank = _rank("r", entries.get("r"), limits)
    layers = _layers(entries.get("layers_to_transform"))
    targets = _names("target_modules", entries.get("target_modules"), limits)
    if not targets:
        raise _wrong("target_modules", entries.get("target_modules"), "name at least one module")
    if layers is not None and isinstance(targets, str):
        raise _wrong("layers_to_transform", entries["layers_to_transform"], "needs target_modules to be a list")
    return LoraConfig(
        rank=rank,
        alpha=_alpha("lora_alpha", entries.get("lora_alpha")),
        targets=targets,
        excluded=_names("exclude_modules", entries.get("exclude_modules"), limits),
        layers=layers,
        layers_pattern=_layers_pattern(entries.get("layers_pattern"), limits),
        rslora=_flag("use_rslora", entries.get("use_rslora")),
        tied=_flag("ensure_weight_tying", entries.get("ensure_weight_tying")),
        rank_pattern=tuple(
            (key, _rank(field, value, limits)) for key, field, value in _patterns("rank", entries, limits)
        ),
        alpha_pattern=tuple((key, _alpha(field, value)) for key, field, value in _patterns("alpha", entries, limits)),
    )


def _refuse_unsupported(entries: _Entries) -> None:
    initialisation = entries.get("init_lora_weights")
    if initialisation not in _INITIALISATIONS:
        raise _wrong(
            "init_lora_weights",
            initialisation,
            "this initialisation changes the base's weights too; save the adapter converted to plain LoRA",
        )
    for field, value in entries.items():
        if field in _HARMLESS or field in _HONOURED or not value or (field, value) == ("bias", "none"):
            continue
        known = field in _WHY or (field.isidentifier() and field.isascii() and len(field) < _LONGEST_FIELD)
        raise _wrong(field if known else quote(field), value, _WHY.get(field, "this field is not supported"))


def _rank(field: str, value: object, limits: Limits) -> int:
    if type(value) is not int or value < 1:
        raise _wrong(field, value, f"a rank is a whole number from 1 to {limits.max_rank}")
    if value > limits.max_rank:
        raise _wrong(field, value, f"the largest rank allowed is {limits.max_rank}")
    return value


def _alpha(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < abs(value) < _LARGEST_ALPHA:
        raise _wrong(field, value, f"use a number other than 0, less than {_LARGEST_ALPHA} in size")
    return float(value)


def _flag(field: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _wrong(field, value, "use true or false")
    return bool(value)


def _names(field: str, value: object, limits: Limits) -> str | tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return _short(field, value, limits)
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise _wrong(field, value, "use a list of module names or one regular expression")
    if len(value) > limits.max_patterns:
        raise _wrong(field, value, f"it has {len(value)} names, more than the {limits.max_patterns} allowed")
    return tuple(_short(field, each, limits) for each in value)


def _layers(value: object) -> tuple[int, ...] | None:
    if value is None or value == []:
        return None
    indices = value if isinstance(value, list) else [value]
    if not all(type(each) is int and each >= 0 for each in indices):
        raise _wrong("layers_to_transform", value, "use a layer's index or a list of them")
    return tuple(indices)


def _layers_pattern(value: object, limits: Limits) -> tuple[str, ...]:
    names = _names("layers_pattern", value, limits)
    return (names,) if isinstance(names, str) and names else tuple(names)


def _patterns(kind: str, entries: _Entries, limits: Limits) -> list[tuple[str, str, object]]:
    """(expression, name of the entry for messages, value) of rank_pattern or alpha_pattern."""
    field = f"{kind}_pattern"
    value = entries.get(field)
    if value is None:
        return []
    if not isinstance(value, dict):
        raise _wrong(field, value, "use an object of module name to number")
    return [(_short(field, key, limits), f"{field}[{quote(key)}]", each) for key, each in value.items()]


def _short(field: str, text: str, limits: Limits) -> str:
    if len(text) > limits.max_pattern_length:
        raise _wrong(field, text, f"it has {len(text)} characters, more than the {limits.max_pattern_length} allowed")
    return text


def _wrong(field: str, value: object, advice: str) -> InvalidArgument:
    return InvalidArgument(CONFIG_FILE, f"{field} is {quote(value)}: {advice}")
