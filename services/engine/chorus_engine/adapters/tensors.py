"""adapter_model.safetensors: its header is checked here before any loader reads it."""

import json
import math
from typing import Any

from safetensors.torch import load
from torch import Tensor

from chorus_engine.core.errors import AdapterUnusable

MAX_HEADER_BYTES = 8 << 20
_ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def read_tensors(data: bytes, *, max_tensors: int) -> dict[str, Tensor]:
    """Every tensor of the file by name, on the CPU.

    Raises AdapterUnusable for a file that is not exactly a header and the bytes of at most `max_tensors` matrices.
    """
    header, start = _parse_header(data)
    header.pop("__metadata__", None)
    if len(header) > max_tensors:
        raise AdapterUnusable(f"the file has {len(header)} tensors; this model takes at most {max_tensors}.")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for begin, stop, name in spans:
        if begin != end:
            raise AdapterUnusable(
                f"the data of {name!r} begins at byte {begin}; it must follow its neighbour at {end}."
            )
        end = stop
    if start + end != len(data):
        raise AdapterUnusable(f"the file has {len(data)} bytes; its header accounts for {start + end}.")
    return load(data)


def _parse_header(data: bytes) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise AdapterUnusable(f"the file has {len(data)} bytes; a safetensors file has at least 8.")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise AdapterUnusable(
            f"the header claims {length} bytes; at most {min(MAX_HEADER_BYTES, len(data) - 8)} are possible."
        )
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise AdapterUnusable(f"the header is not JSON: {error}.") from None
    if not isinstance(header, dict):
        raise AdapterUnusable(f"the header holds a {type(header).__name__}; it must be an object.")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice")
    return fields


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """First and last byte of a tensor, after its dtype, shape and size agree."""
    match entry:
        case {"dtype": str(dtype), "shape": [int(rows), int(columns)], "data_offsets": [int(begin), int(stop)]} if (
            dtype in _ITEM_SIZES and rows > 0 and columns > 0 and begin >= 0
        ):
            size = math.prod((rows, columns, _ITEM_SIZES[dtype]))
            if stop - begin != size:
                raise AdapterUnusable(f"{name!r} takes {stop - begin} bytes; {dtype} [{rows}, {columns}] is {size}.")
            return begin, stop, name
    raise AdapterUnusable(
        f"{name!r} is {str(entry)[:200]}; a tensor is a matrix of {', '.join(_ITEM_SIZES)} with two data_offsets."
    )
