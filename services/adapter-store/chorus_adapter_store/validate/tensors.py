"""The tensors of an upload against the modules that its config adapts: pairs complete, shapes and ranks right."""

import re
from collections.abc import Iterable, Mapping

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.header import TensorInfo
from chorus_adapter_store.validate.targets import Target, paths
from chorus_adapter_store.values import EMBEDDING, WEIGHTS_FILE, BaseSpec

_LORA = re.compile(
    r"base_model\.model\.(?:model\.(?P<module>layers\.(?:0|[1-9][0-9]{0,5})\.[A-Za-z0-9_.]{1,200})|(?P<head>lm_head))"
    r"\.lora_(?P<side>[AB])\.weight"
)
_EMBEDDING = re.compile(r"base_model\.model\.model\.embed_tokens\.lora_embedding_(?P<side>[AB])")
_UNSUPPORTED: Mapping[str, str] = {
    "lora_magnitude_vector": "DoRA",
    "modules_to_save": "a fully trained module",
    "token_adapter": "trained tokens",
    "bias": "a bias",
}

_Pair = dict[str, TensorInfo]  # side, "A" or "B" → its tensor


def check_tensors(tensors: Iterable[TensorInfo], targets: Mapping[str, Target], base: BaseSpec) -> list[Target]:
    """The targets that carry weights, in their order.

    Raises InvalidArgument unless the tensors are exactly the A and B of every target, in its shape and rank.
    """
    pairs = _pairs(tensors)
    known = {f"layers.{layer}.{module.path}" for layer in range(base.num_layers) for module in base.modules}
    known |= {module.path for module in base.outer_modules}
    for name in pairs:
        if name not in known:
            raise _wrong(
                f"tensors for {quote(name)}, which is no module of base '{base.name}' ({base.num_layers} layers); "
                f"it has {paths(base)}"
            )
        if name not in targets:
            raise _wrong(f"tensors for {quote(name)}, which target_modules in adapter_config.json leaves out")
    found = [target for name, target in targets.items() if name in pairs or not target.optional]
    for target in found:
        _check_pair(pairs.get(target.name, {}), target)
    return found


def _pairs(tensors: Iterable[TensorInfo]) -> dict[str, _Pair]:
    pairs: dict[str, _Pair] = {}
    for tensor in tensors:
        module, side = _parse(tensor.name)
        pairs.setdefault(module, {})[side] = tensor
    return pairs


def _parse(name: str) -> tuple[str, str]:
    """Module and side of a tensor. Raises InvalidArgument."""
    if (match := _LORA.fullmatch(name)) is not None:
        return match["module"] or match["head"], match["side"]
    if (match := _EMBEDDING.fullmatch(name)) is not None:
        return EMBEDDING, match["side"]
    raise _unnamed(name)


def _unnamed(name: str) -> InvalidArgument:
    for part, meaning in _UNSUPPORTED.items():
        if part in name:
            return _wrong(f"tensor {quote(name)} is {meaning}, which this version does not support")
    return _wrong(
        f"tensor {quote(name)} is not named as PEFT names LoRA weights "
        "(base_model.model.model.layers.<i>.<module>.lora_A.weight or lora_B, base_model.model.lm_head.lora_A.weight, "
        "base_model.model.model.embed_tokens.lora_embedding_A)"
    )


def _check_pair(pair: _Pair, target: Target) -> None:
    missing = [f"lora_{side}" for side in ("A", "B") if side not in pair]
    if missing:
        raise _wrong(f"{target.name} has no {' and no '.join(missing)}, but adapter_config.json targets it")
    expected = {"A": (target.rank, target.module.in_features), "B": (target.module.out_features, target.rank)}
    for side, rank_axis in (("A", 0), ("B", 1)):
        shape = pair[side].shape
        if shape == expected[side]:
            continue
        if (
            len(shape) == 2
            and shape[rank_axis] != target.rank
            and shape[1 - rank_axis] == expected[side][1 - rank_axis]
        ):
            raise _wrong(
                f"lora_{side} of {target.name} has rank {shape[rank_axis]}, "
                f"but adapter_config.json gives this module rank {target.rank}"
            )
        raise _wrong(f"lora_{side} of {target.name} has shape {list(shape)}; the base needs {list(expected[side])}")


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(WEIGHTS_FILE, message)
