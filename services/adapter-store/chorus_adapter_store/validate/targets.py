"""Which of the base's modules a config adapts, and at which rank: PEFT's rules, applied to the base's spec."""

from collections.abc import Iterator
from dataclasses import dataclass

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.lora_config import LoraConfig
from chorus_adapter_store.validate.patterns import Matcher
from chorus_adapter_store.values import CONFIG_FILE, BaseSpec, LinearModule

# Modules of every base that PEFT could adapt and this version does not serve, by the name that PEFT knows them under.
UNSUPPORTED = ("lm_head", "model.embed_tokens")
_ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True)
class Target:
    """A module that must carry weights."""

    name: str  # such as "layers.0.self_attn.q_proj"
    module: LinearModule
    rank: int
    alpha: float


def find_targets(config: LoraConfig, base: BaseSpec, limits: Limits) -> dict[str, Target]:
    """Every module that the config adapts, by name, in the base's order.

    Raises InvalidArgument when a target is unknown or unsupported, or when nothing matches.
    """
    matcher = Matcher(limits.pattern_seconds)
    _check_layers(config, base)
    _check_named(config, base)
    for name in UNSUPPORTED:
        if _is_target(config, name, matcher):
            raise _wrong(f"target_modules reaches {name.rpartition('.')[2]}, which this version does not support")
    found = {
        name: _target(config, name, module, matcher)
        for layer, name, module in _modules(base)
        if _is_target(config, f"model.{name}", matcher) and _in_layers(config, layer, matcher)
    }
    if not found:
        raise _wrong(
            f"target_modules {quote(config.targets)} matches no module of base '{base.name}'; "
            f"it has {', '.join(module.path for module in base.modules)}"
        )
    return found


def _modules(base: BaseSpec) -> Iterator[tuple[int, str, LinearModule]]:
    for layer in range(base.num_layers):
        for module in base.modules:
            yield layer, f"layers.{layer}.{module.path}", module


def _check_layers(config: LoraConfig, base: BaseSpec) -> None:
    beyond = [layer for layer in config.layers or () if layer >= base.num_layers]
    if beyond:
        raise _wrong(
            f"layers_to_transform has {quote(beyond[0])}, but base '{base.name}' has {base.num_layers} layers, "
            f"0 to {base.num_layers - 1}"
        )


def _check_named(config: LoraConfig, base: BaseSpec) -> None:
    """Each name of a list must mean something, else part of the training is silently lost."""
    if isinstance(config.targets, str):
        return
    names = [f"model.{name}" for _, name, _ in _modules(base)]
    for target in config.targets:
        if target.rpartition(".")[2] in ("lm_head", "embed_tokens"):
            raise _wrong(f"target_modules has {quote(target)}, which this version does not support")
        if not any(_named(target, name) for name in names):
            raise _wrong(
                f"target_modules has {quote(target)}, which is no module of base '{base.name}'; "
                f"it has {', '.join(module.path for module in base.modules)}"
            )


def _is_target(config: LoraConfig, name: str, matcher: Matcher) -> bool:
    if config.targets == _ALL_LINEAR:
        return name not in UNSUPPORTED and not _listed("exclude_modules", config.excluded, name, matcher)
    return _listed("target_modules", config.targets, name, matcher) and not _listed(
        "exclude_modules", config.excluded, name, matcher
    )


def _listed(field: str, names: str | tuple[str, ...], name: str, matcher: Matcher) -> bool:
    if isinstance(names, str):
        return matcher.whole(field, names, name)
    return any(_named(each, name) for each in names)


def _named(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _in_layers(config: LoraConfig, layer: int, matcher: Matcher) -> bool:
    if config.layers is None:
        return True
    if config.layers_pattern and not any(
        matcher.ending("layers_pattern", pattern, "model.layers") for pattern in config.layers_pattern
    ):
        return False
    return layer in config.layers


def _target(config: LoraConfig, name: str, module: LinearModule, matcher: Matcher) -> Target:
    full = f"model.{name}"
    ranks = (rank for key, rank in config.rank_pattern if matcher.ending("rank_pattern", key, full))
    alphas = (alpha for key, alpha in config.alpha_pattern if matcher.ending("alpha_pattern", key, full))
    return Target(name, module, next(ranks, config.rank), next(alphas, config.alpha))


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(CONFIG_FILE, message)
