"""The header of a safetensors file, read with nothing but the standard library, before any loader sees the file.

Layout: 8 bytes of header length (little-endian), that many bytes of JSON, then the tensors back to back. Everything is
checked that a loader would have to trust: nothing overlaps, nothing is left out, nothing follows the last tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.strictjson import parse_object
from chorus_adapter_store.values import WEIGHTS_FILE

DTYPE_BYTES: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}
_LENGTH_BYTES = 8
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_MAX_DIMENSIONS = 8
_LARGEST = 1 << 48  # of a size or an offset; keeps products printable


@dataclass(frozen=True, slots=True)
class TensorInfo:
    name: str
    dtype: str  # a key of DTYPE_BYTES
    shape: tuple[int, ...]
    begin: int  # bytes from the start of the file
    end: int


def read_header(file: BinaryIO, size: int, limits: Limits) -> tuple[TensorInfo, ...]:
    """The tensors of the safetensors file `file` of `size` bytes, in the order of their bytes.

    Raises InvalidArgument naming what is wrong.
    """
    start = file.read(_LENGTH_BYTES + 1)
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if start[_LENGTH_BYTES:] != b"{" or not 2 <= length <= size - _LENGTH_BYTES:
        raise _not_safetensors(start, length, size)
    if length > limits.max_header_bytes:
        raise _wrong(f"the header has {length} bytes, more than the {limits.max_header_bytes} allowed")
    file.seek(_LENGTH_BYTES)
    entries = parse_object(f"{WEIGHTS_FILE} header", file.read(length), max_entries=limits.max_tensors + 1)
    _check_metadata(entries.pop("__metadata__", {}))
    data = _LENGTH_BYTES + length
    tensors = sorted((_tensor(name, entry, data) for name, entry in entries.items()), key=lambda each: each.begin)
    _check_layout(tensors, data, size)
    return tuple(tensors)


def _not_safetensors(start: bytes, length: int, size: int) -> InvalidArgument:
    if start.startswith(b"PK\x03\x04"):
        return _wrong(
            "this is a zip file, as torch.save writes (a pickle); save the adapter with safe_serialization=True"
        )
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _wrong("this is a pickle file; save the adapter with safe_serialization=True")
    if len(start) <= _LENGTH_BYTES:
        return _wrong(f"{size} bytes are too few for a safetensors file; the upload may have been cut off")
    if length > size - _LENGTH_BYTES:
        return _wrong(
            f"the header claims {length} bytes, but only {size - _LENGTH_BYTES} follow its length; "
            "the upload may have been cut off"
        )
    return _wrong("this is not a safetensors file: no JSON object follows the header's length")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _wrong("__metadata__ must map strings to strings")


def _tensor(name: str, entry: object, data: int) -> TensorInfo:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _wrong(f"tensor {quote(name)} must have exactly the fields dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _wrong(f"tensor {quote(name)} has dtype {quote(dtype)}; allowed are {', '.join(DTYPE_BYTES)}")
    if not _naturals(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _wrong(f"tensor {quote(name)} has shape {quote(shape)}, which is not a list of sizes")
    if not _naturals(offsets) or len(offsets) != 2:
        raise _wrong(f"tensor {quote(name)} has data_offsets {quote(offsets)}, which are not a begin and an end")
    begin, end = offsets
    expected = prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != expected:
        raise _wrong(
            f"tensor {quote(name)} takes {end - begin} bytes by its data_offsets, "
            f"but {expected} by its shape {quote(shape)} and dtype {dtype}"
        )
    return TensorInfo(name, dtype, tuple(shape), data + begin, data + end)


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < _LARGEST for each in value)


def _check_layout(tensors: list[TensorInfo], data: int, size: int) -> None:
    at = data
    for tensor in tensors:
        if tensor.begin != at:
            kind = "overlaps the one before it" if tensor.begin < at else f"leaves {tensor.begin - at} bytes unused"
            raise _wrong(f"tensor {quote(tensor.name)} begins at byte {tensor.begin - data} and {kind}")
        at = tensor.end
    if at > size:
        raise _wrong(f"the tensors need {at} bytes, but the file has {size}; the upload may have been cut off")
    if at < size:
        raise _wrong(f"{size - at} bytes follow the last tensor; nothing may")


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(WEIGHTS_FILE, message)
