"""adapter_model.safetensors: its header is checked here, and no other loader reads it."""

import json
import math
from dataclasses import dataclass
from typing import Any

import torch

from chorus_engine.core.errors import AdapterUnusable

MAX_HEADER_BYTES = 8 << 20
LENGTH_BYTES = 8  # before the header
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A tensor of the file: [rows, columns], from byte `begin` of the file to byte `end`."""

    name: str
    dtype: torch.dtype
    rows: int
    columns: int
    begin: int
    end: int


def header_end(head: bytes, size: int) -> int:
    """Where the header of a file of `size` bytes ends, by its first bytes. Raises AdapterUnusable."""
    if size < LENGTH_BYTES:
        raise AdapterUnusable(f"the file has {size} bytes; a safetensors file has at least {LENGTH_BYTES}.")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > (limit := min(MAX_HEADER_BYTES, size - LENGTH_BYTES)):
        raise AdapterUnusable(f"the header claims {length} bytes; at most {limit} are possible.")
    return LENGTH_BYTES + length


def read_matrices(head: bytes, size: int, *, max_tensors: int) -> tuple[Matrix, ...]:
    """Every tensor of a file of `size` bytes that begins with `head`, length and whole header, in the file's order.

    Raises AdapterUnusable for a file that is not exactly a header and the bytes of at most `max_tensors` matrices.
    """
    header = _parse(head[LENGTH_BYTES:])
    header.pop("__metadata__", None)
    if len(header) > max_tensors:
        raise AdapterUnusable(f"the file has {len(header)} tensors; this model takes at most {max_tensors}.")
    matrices = sorted((_matrix(name, entry, len(head)) for name, entry in header.items()), key=lambda m: m.begin)
    end = len(head)
    for matrix in matrices:
        if matrix.begin != end:
            raise AdapterUnusable(
                f"the data of {matrix.name!r} begins at byte {matrix.begin - len(head)}; it must follow its "
                f"neighbour at {end - len(head)}."
            )
        end = matrix.end
    if end != size:
        raise AdapterUnusable(f"the file has {size} bytes; its header accounts for {end}.")
    return tuple(matrices)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise AdapterUnusable(f"the header is not JSON: {error}.") from None
    if not isinstance(header, dict):
        raise AdapterUnusable(f"the header holds a {type(header).__name__}; it must be an object.")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice")
    return fields


def _matrix(name: str, entry: Any, start: int) -> Matrix:
    """After dtype, shape and size agree. `start`: where the data begins in the file."""
    match entry:
        case {"dtype": str(dtype), "shape": [int(rows), int(columns)], "data_offsets": [int(begin), int(stop)]} if (
            dtype in _TYPES and rows > 0 and columns > 0 and begin >= 0
        ):
            size = math.prod((rows, columns, _TYPES[dtype].itemsize))
            if stop - begin != size:
                raise AdapterUnusable(f"{name!r} takes {stop - begin} bytes; {dtype} [{rows}, {columns}] is {size}.")
            return Matrix(name, _TYPES[dtype], rows, columns, start + begin, start + stop)
    raise AdapterUnusable(
        f"{name!r} is {str(entry)[:200]}; a tensor is a matrix of {', '.join(_TYPES)} with two data_offsets."
    )
