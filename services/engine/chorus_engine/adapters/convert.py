"""The two files of an adapter become the layout that the runner copies to its pool.

What the header says is checked as a whole before a value is read (`plan`). Then each tensor is converted by itself
(`Piece.write`), so that an adapter is converted while the rest of it arrives.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from chorus_engine.adapters.config import LoraSettings, parse_settings
from chorus_engine.adapters.host import AdapterFiles, HostAdapter, Key, Place, Weights, lay_out, modules_of
from chorus_engine.adapters.tensors import LENGTH_BYTES, Matrix, header_end, read_matrices
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.core.spec import EMBEDDING, HEAD, OUTER_LAYER, AdapterFootprint, LinearModule, ModelSpec

_NAME = re.compile(r"(?:base_model\.model\.)?model\.layers\.(\d{1,6})\.([a-z0-9_.]+)\.lora_([AB])\.weight")
_OUTER = {  # peft's names: an embedding has parameters where a linear module has modules with a weight
    f"{prefix}{name}_{side}{suffix}": (OUTER_LAYER, path, side)
    for prefix in ("base_model.model.", "")
    for name, suffix, path in (("model.embed_tokens.lora_embedding", "", EMBEDDING), ("lm_head.lora", ".weight", HEAD))
    for side in "AB"
}
# Matrices of the base that peft saves beside LoRA on them. The store took them for the base's own; they are not read.
_WHOLE = {
    f"{prefix}{name}.{part}weight"
    for prefix in ("base_model.model.", "")
    for name in ("model.embed_tokens", "lm_head")
    for part in ("base_layer.", "")
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What an adapter must fit, and how it is kept."""

    spec: ModelSpec
    dtype: torch.dtype
    max_rank: int
    modules: dict[Key, LinearModule] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", modules_of(self.spec))

    @property
    def whole_bytes(self) -> int:
        """That an adapter's file may take more than what is kept of it: matrices of the base."""
        return 2 * self.spec.vocab_size * self.spec.hidden_size * torch.float32.itemsize


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor of the file, and where its values go."""

    matrix: Matrix
    place: Place
    scale: float | None  # of a B, which is kept transposed; None is an A

    def write(self, data: Tensor, origin: int, packed: Tensor) -> None:
        """`data`: bytes of the file from byte `origin`. Raises AdapterUnusable for values that are not finite."""
        matrix, place = self.matrix, self.place
        begin = matrix.begin - origin
        raw = data[begin : matrix.end - origin]
        if begin % matrix.dtype.itemsize:
            raw = raw.clone()  # a view would not be aligned
        values = raw.view(matrix.dtype).view(matrix.rows, matrix.columns)
        low, high = torch.aminmax(values)  # NaN where there is one
        if not (math.isfinite(low) and math.isfinite(high)):
            raise AdapterUnusable(f"{matrix.name} has values that are not finite.")
        if self.scale is None:
            packed[place.begin : place.middle].view(values.shape).copy_(values)
        else:
            scaled = values.T.to(torch.float32, copy=True).mul_(self.scale)
            packed[place.middle : place.end].view(scaled.shape).copy_(scaled)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file holds, known from its header alone."""

    footprint: AdapterFootprint
    pieces: tuple[Piece, ...]  # in the file's order
    bytes: int  # of the adapter in host memory


def plan(digest: str, config: bytes, head: bytes, size: int, layout: Layout) -> Plan:
    """`head`: the beginning of the weights' file of `size` bytes, up to its header's end.

    Raises AdapterUnusable with the field or tensor, its value and the limit.
    """
    settings = parse_settings(config)
    matrices = read_matrices(head, size, max_tensors=2 * len(layout.modules) + len(_WHOLE))
    halves = [matrix for matrix in matrices if not _is_whole(matrix, layout.spec)]
    pairs = dict(sorted(_pair(halves, layout).items()))
    scales = {key: _checked_scale(settings, _full_name(key), a.rows, layout.max_rank) for key, (a, _) in pairs.items()}
    footprint = AdapterFootprint(digest, tuple((layer, path, a.rows) for (layer, path), (a, _) in pairs.items()))
    places = lay_out(footprint, layout.modules)
    pieces = [
        Piece(matrix, places[key], scale)
        for key, (a, b) in pairs.items()
        for matrix, scale in ((a, None), (b, scales[key]))
    ]
    pieces.sort(key=lambda piece: piece.matrix.begin)
    size_in_memory = max(place.end for place in places.values()) * layout.dtype.itemsize
    return Plan(replace(footprint, bytes=size_in_memory), tuple(pieces), size_in_memory)


def convert(digest: str, files: AdapterFiles, layout: Layout, *, pinned: bool = False) -> HostAdapter:
    """Of files that are in memory. pinned: page-locked, so that a copy to the device need not wait.

    Raises AdapterUnusable as `plan` does, also when the files are not those that the digest names.
    """
    if (actual := files.digest()) != digest:
        raise AdapterUnusable(f"the adapter's bytes hash to {actual}, not to its digest {digest}; upload it again.")
    head = files.model[: header_end(files.model[:LENGTH_BYTES], len(files.model))]
    planned = plan(digest, files.config, head, len(files.model), layout)
    packed = torch.empty(planned.bytes // layout.dtype.itemsize, dtype=layout.dtype, pin_memory=pinned)
    write(planned.pieces, bytearray(files.model), 0, packed)
    return HostAdapter(digest, planned.footprint, Weights(packed, lay_out(planned.footprint, layout.modules)))


def write(pieces: Sequence[Piece], data: bytearray, origin: int, packed: Tensor) -> None:
    """`data`: of the file from byte `origin`, with all of the pieces. packed: [values] of the adapter."""
    values = torch.frombuffer(data, dtype=torch.uint8)
    for piece in pieces:
        piece.write(values, origin, packed)


def _is_whole(matrix: Matrix, spec: ModelSpec) -> bool:
    if matrix.name not in _WHOLE:
        return False
    if (matrix.rows, matrix.columns) != (spec.vocab_size, spec.hidden_size):
        raise AdapterUnusable(
            f"{matrix.name} is {[matrix.rows, matrix.columns]}; {spec.name} has {[spec.vocab_size, spec.hidden_size]}, "
            "and another vocabulary is not supported."
        )
    return True


def _full_name(key: Key) -> str:
    """As the model's own class and peft's patterns name the module."""
    layer, path = key
    if layer != OUTER_LAYER:
        return f"model.layers.{layer}.{path}"
    return path if path == HEAD else f"model.{path}"


def _pair(matrices: Sequence[Matrix], layout: Layout) -> dict[Key, tuple[Matrix, Matrix]]:
    """(A [rank, in], B [out, rank]) of each module: names known, pairs complete, shapes as the model has them."""
    spec = layout.spec
    halves: dict[Key, dict[str, Matrix]] = {}
    for matrix in matrices:
        layer, path, side = _parse(matrix.name)
        if (layer, path) not in layout.modules:
            raise AdapterUnusable(
                f"the tensor {matrix.name[:200]!r} belongs to no module of {spec.name}, whose {spec.num_layers} layers "
                f"have {', '.join(module.path for module in spec.modules)}; {_outer_words(spec)}."
            )
        halves.setdefault((layer, path), {})[side] = matrix
    if not halves:
        raise AdapterUnusable(f"no tensor matches a module of {spec.name}; the adapter would do nothing.")
    return {key: _complete(key, half, layout.modules[key]) for key, half in halves.items()}


def _parse(name: str) -> tuple[int, str, str]:
    """Layer, path and side of a tensor; a module that no model has where the name is none of peft's."""
    if (match := _NAME.fullmatch(name)) is not None:
        return int(match[1]), match[2], match[3]
    return _OUTER.get(name, (OUTER_LAYER, "", ""))


def _outer_words(spec: ModelSpec) -> str:
    if spec.outer_modules:
        return f"outside of them it has {', '.join(module.path for module in spec.outer_modules)}"
    return f"{HEAD} and {EMBEDDING} are served where CHORUS_MAX_VOCAB_ADAPTERS is not 0"


def _complete(key: Key, half: dict[str, Matrix], module: LinearModule) -> tuple[Matrix, Matrix]:
    name = _full_name(key)
    if len(half) != 2:
        raise AdapterUnusable(f"{name} has lora_{next(iter(half))} only; lora_A and lora_B come together.")
    a, b = half["A"], half["B"]
    if a.columns != module.in_features or b.rows != module.out_features or a.rows != b.columns:
        raise AdapterUnusable(
            f"{name} has A {[a.rows, a.columns]} and B {[b.rows, b.columns]}; this model takes A [rank, "
            f"{module.in_features}] and B [{module.out_features}, rank]."
        )
    return a, b


def _checked_scale(settings: LoraSettings, module: str, rank: int, max_rank: int) -> float:
    if rank > max_rank:
        raise AdapterUnusable(f"{module} has rank {rank}; this engine's max_lora_rank is {max_rank}.")
    if rank != (said := settings.rank_of(module)):
        raise AdapterUnusable(f"{module} has rank {rank}; adapter_config.json says {said}.")
    return settings.scale_of(module)
