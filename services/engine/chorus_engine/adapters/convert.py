"""The two files of an adapter become the layout that the runner copies to its pool."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.adapters.config import LoraSettings, parse_settings
from chorus_engine.adapters.host import AdapterFiles, HostAdapter, pack
from chorus_engine.adapters.tensors import read_tensors
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER, AdapterFootprint, LinearModule, ModelSpec

_NAME = re.compile(r"(?:base_model\.model\.)?model\.layers\.(\d{1,6})\.([a-z0-9_.]+)\.lora_([AB])\.weight")
_OUTER = {  # peft's names: an embedding has parameters where a linear module has modules with a weight
    f"{prefix}{name}_{side}{suffix}": (OUTER_LAYER, path, side)
    for prefix in ("base_model.model.", "")
    for name, suffix, path in (("model.embed_tokens.lora_embedding", "", EMBEDDING), ("lm_head.lora", ".weight", HEAD))
    for side in "AB"
}

_Key = tuple[int, str]  # (layer or OUTER_LAYER, module path)


@dataclass(frozen=True, slots=True)
class Layout:
    """What an adapter must fit, and how it is kept."""

    spec: ModelSpec
    dtype: torch.dtype
    max_rank: int
    pinned: bool  # page-locked, so that a copy to the device need not wait


def convert(digest: str, files: AdapterFiles, layout: Layout) -> HostAdapter:
    """Check the files against digest and model, and fold each module's scale into its B.

    Raises AdapterUnusable with the field or tensor, its value and the limit.
    """
    if (actual := files.digest()) != digest:
        raise AdapterUnusable(f"the adapter's bytes hash to {actual}, not to its digest {digest}; upload it again.")
    settings = parse_settings(files.config)
    spec = layout.spec
    modules = _modules(spec)
    tensors = read_tensors(files.model, max_tensors=2 * len(modules))
    pairs = _pair(tensors, spec, modules)
    scaled = {}
    for key, (a, b) in sorted(pairs.items()):
        scale = _checked_scale(settings, _full_name(key), a, b, layout.max_rank)
        scaled[key] = (a, (b.float() * scale).T)
    ranks = tuple((layer, path, len(a)) for (layer, path), (a, _) in scaled.items())
    return HostAdapter(digest, AdapterFootprint(digest, ranks), pack(scaled, layout.dtype, pinned=layout.pinned))


def _modules(spec: ModelSpec) -> dict[_Key, LinearModule]:
    inner = {(layer, module.path): module for layer in range(spec.num_layers) for module in spec.modules}
    return inner | {(OUTER_LAYER, module.path): module for module in spec.outer_modules}


def _full_name(key: _Key) -> str:
    """As the model's own class and peft's patterns name the module."""
    layer, path = key
    if layer != OUTER_LAYER:
        return f"model.layers.{layer}.{path}"
    return path if path == HEAD else f"model.{path}"


def _pair(
    tensors: dict[str, Tensor], spec: ModelSpec, modules: dict[_Key, LinearModule]
) -> dict[_Key, tuple[Tensor, Tensor]]:
    """(A [rank, in], B [out, rank]) of each module: names known, pairs complete, shapes as the model has them."""
    halves: dict[_Key, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, path, side = _parse(name)
        if (layer, path) not in modules:
            raise AdapterUnusable(
                f"the tensor {name[:200]!r} belongs to no module of {spec.name}, whose {spec.num_layers} layers have "
                f"{', '.join(module.path for module in spec.modules)}; {_outer_words(spec)}."
            )
        halves.setdefault((layer, path), {})[side] = tensor
    if not halves:
        raise AdapterUnusable(f"no tensor matches a module of {spec.name}; the adapter would do nothing.")
    return {key: _complete(key, half, modules[key]) for key, half in halves.items()}


def _parse(name: str) -> tuple[int, str, str]:
    """Layer, path and side of a tensor; a module that no model has where the name is none of peft's."""
    if (match := _NAME.fullmatch(name)) is not None:
        return int(match[1]), match[2], match[3]
    return _OUTER.get(name, (OUTER_LAYER, "", ""))


def _outer_words(spec: ModelSpec) -> str:
    if spec.outer_modules:
        return f"outside of them it has {', '.join(module.path for module in spec.outer_modules)}"
    return f"{HEAD} and {EMBEDDING} are served where CHORUS_MAX_VOCAB_ADAPTERS is not 0"


def _complete(key: _Key, half: dict[str, Tensor], module: LinearModule) -> tuple[Tensor, Tensor]:
    name = _full_name(key)
    if len(half) != 2:
        raise AdapterUnusable(f"{name} has lora_{next(iter(half))} only; lora_A and lora_B come together.")
    a, b = half["A"], half["B"]
    if a.shape[1] != module.in_features or b.shape[0] != module.out_features or a.shape[0] != b.shape[1]:
        raise AdapterUnusable(
            f"{name} has A {list(a.shape)} and B {list(b.shape)}; this model takes A [rank, {module.in_features}] and "
            f"B [{module.out_features}, rank]."
        )
    return a, b


def _checked_scale(settings: LoraSettings, module: str, a: Tensor, b: Tensor, max_rank: int) -> float:
    rank = len(a)
    if rank > max_rank:
        raise AdapterUnusable(f"{module} has rank {rank}; this engine's max_lora_rank is {max_rank}.")
    if rank != (said := settings.rank_of(module)):
        raise AdapterUnusable(f"{module} has rank {rank}; adapter_config.json says {said}.")
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise AdapterUnusable(f"{module} has values that are not finite.")
    return settings.scale_of(module)
