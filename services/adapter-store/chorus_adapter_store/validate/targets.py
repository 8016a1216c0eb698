"""Which of the base's modules a config adapts, and at which rank: PEFT's rules, applied to the base's spec."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.lora_config import LoraConfig
from chorus_adapter_store.validate.patterns import Matcher
from chorus_adapter_store.values import CONFIG_FILE, EMBEDDING, HEAD, BaseSpec, LinearModule

# The modules outside the layers, by the names that PEFT knows them under.
OUTER_NAMES = {EMBEDDING: f"model.{EMBEDDING}", HEAD: HEAD}
_ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True)
class Target:
    """A module that must carry weights."""

    name: str  # such as "layers.0.self_attn.q_proj" or "lm_head"
    module: LinearModule
    rank: int
    alpha: float
    optional: bool = False  # it may also carry none


@dataclass(frozen=True, slots=True)
class _Candidate:
    layer: int | None  # None: outside the layers
    name: str
    full: str  # as PEFT knows it, such as "model.layers.0.self_attn.q_proj"
    module: LinearModule


def find_targets(config: LoraConfig, base: BaseSpec, limits: Limits) -> dict[str, Target]:
    """Every module that the config adapts, by name, in the base's order and then those outside the layers.

    Raises InvalidArgument when a target is unknown or not served, or when nothing matches.
    """
    matcher = Matcher(limits.pattern_seconds)
    _check_layers(config, base)
    _check_named(config, base)
    _check_served(config, base, matcher)
    candidates = list(_candidates(base))
    found = {each.name: _target(config, each, matcher) for each in candidates if _is_target(config, each, matcher)}
    if not found:
        raise _wrong(
            f"target_modules {quote(config.targets)} matches no module of base '{base.name}'; it has {paths(base)}"
        )
    if config.tied and not found.keys().isdisjoint(OUTER_NAMES):
        # PEFT ties by the base's config, which is not known here; it saves both, so that the file says it.
        for each in candidates:
            if each.layer is None and each.name not in found:
                found[each.name] = replace(_target(config, each, matcher), optional=True)
    return found


def paths(base: BaseSpec) -> str:
    """The base's modules, for messages."""
    return ", ".join(module.path for module in (*base.modules, *base.outer_modules))


def _candidates(base: BaseSpec) -> Iterator[_Candidate]:
    for layer in range(base.num_layers):
        for module in base.modules:
            name = f"layers.{layer}.{module.path}"
            yield _Candidate(layer, name, f"model.{name}", module)
    for module in base.outer_modules:
        yield _Candidate(None, module.path, OUTER_NAMES[module.path], module)


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
    names = [*(each.full for each in _candidates(base)), *OUTER_NAMES.values()]
    for target in config.targets:
        if not any(_named(target, name) for name in names):
            raise _wrong(
                f"target_modules has {quote(target)}, which is no module of base '{base.name}'; it has {paths(base)}"
            )


def _check_served(config: LoraConfig, base: BaseSpec, matcher: Matcher) -> None:
    served = {module.path for module in base.outer_modules}
    for path, full in OUTER_NAMES.items():
        if path not in served and _is_target(config, _Candidate(None, path, full, LinearModule(path, 0, 0)), matcher):
            raise _wrong(
                f"target_modules reaches {path}, and base '{base.name}' is served without LoRA on it "
                "(its engines have CHORUS_MAX_VOCAB_ADAPTERS=0); train without it or have that raised"
            )


def _is_target(config: LoraConfig, candidate: _Candidate, matcher: Matcher) -> bool:
    if _listed("exclude_modules", config.excluded, candidate.full, matcher):
        return False
    if isinstance(config.targets, str):
        if config.targets.lower() == _ALL_LINEAR:
            return candidate.layer is not None
        return matcher.whole("target_modules", config.targets, candidate.full)
    if candidate.full in config.targets:
        return True  # a full name is meant whatever layers_to_transform says
    return _listed("target_modules", config.targets, candidate.full, matcher) and _in_layers(config, candidate, matcher)


def _listed(field: str, names: str | tuple[str, ...], name: str, matcher: Matcher) -> bool:
    if isinstance(names, str):
        return matcher.whole(field, names, name)
    return any(_named(each, name) for each in names)


def _named(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _in_layers(config: LoraConfig, candidate: _Candidate, matcher: Matcher) -> bool:
    if config.layers is None:
        return True
    if config.layers_pattern and not any(
        matcher.ending("layers_pattern", pattern, "model.layers") for pattern in config.layers_pattern
    ):
        return False
    return candidate.layer in config.layers


def _target(config: LoraConfig, candidate: _Candidate, matcher: Matcher) -> Target:
    full = candidate.full
    ranks = (rank for key, rank in config.rank_pattern if matcher.ending("rank_pattern", key, full))
    alphas = (alpha for key, alpha in config.alpha_pattern if matcher.ending("alpha_pattern", key, full))
    return Target(candidate.name, candidate.module, next(ranks, config.rank), next(alphas, config.alpha))


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(CONFIG_FILE, message)
