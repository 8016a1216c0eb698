"""The two files of an adapter become the layout that the runner copies to its pool."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.adapters.config import LoraSettings, parse_settings
from chorus_engine.adapters.host import AdapterFiles, HostAdapter, pack
from chorus_engine.adapters.tensors import read_tensors
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import AdapterFootprint, LinearModule, ModelSpec

_NAME = re.compile(r"(?:base_model\.model\.)?(model\.layers\.(\d{1,6})\.([a-z0-9_.]+))\.lora_([AB])\.weight")


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
    tensors = read_tensors(files.model, max_tensors=2 * spec.num_layers * len(spec.modules))
    pairs = _pair(tensors, spec)
    scaled = {}
    for (layer, path), (a, b) in sorted(pairs.items()):
        scale = _checked_scale(settings, f"model.layers.{layer}.{path}", a, b, layout.max_rank)
        scaled[layer, path] = (a, (b.float() * scale).T)
    ranks = tuple((layer, path, len(a)) for (layer, path), (a, _) in scaled.items())
    return HostAdapter(digest, AdapterFootprint(digest, ranks), pack(scaled, layout.dtype, pinned=layout.pinned))


def _pair(tensors: dict[str, Tensor], spec: ModelSpec) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    """(A [rank, in], B [out, rank]) of each module: names known, pairs complete, shapes as the model has them."""
    modules = {module.path: module for module in spec.modules}
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None or match[3] not in modules or int(match[2]) >= spec.num_layers:
            raise AdapterUnusable(
                f"the tensor {name[:200]!r} belongs to no module of {spec.name}, whose {spec.num_layers} layers have "
                f"{', '.join(modules)}."
            )
        halves.setdefault((int(match[2]), match[3]), {})[match[4]] = tensor
    if not halves:
        raise AdapterUnusable(f"no tensor matches a module of {spec.name}; the adapter would do nothing.")
    return {key: _complete(key, half, modules[key[1]]) for key, half in halves.items()}


def _complete(key: tuple[int, str], half: dict[str, Tensor], module: LinearModule) -> tuple[Tensor, Tensor]:
    name = f"layers.{key[0]}.{key[1]}"
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
