"""Safetensors files that lie about themselves."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save

from chorus_engine.adapters.tensors import Matrix, header_end, read_matrices
from chorus_engine.core.errors import AdapterUnusable


def _file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _entry(begin: int, end: int, **fields: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1, 2], "data_offsets": [begin, end], **fields}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_good_file_is_read(dtype: torch.dtype) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "b": torch.ones(1, 1, dtype=dtype)}
    data = save(tensors, metadata={"format": "pt"})
    read = {matrix.name: _values(matrix, data) for matrix in _read(data)}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def _read(data: bytes) -> tuple[Matrix, ...]:
    return read_matrices(data[: header_end(data[:8], len(data))], len(data), max_tensors=2)


def _values(matrix: Matrix, data: bytes) -> torch.Tensor:
    values = torch.frombuffer(bytearray(data[matrix.begin : matrix.end]), dtype=matrix.dtype)
    return values.view(matrix.rows, matrix.columns)


BAD = {
    "has 3 bytes": b"abc",
    "the header claims": _file({}, length=1 << 40),
    "is not JSON": _file(b"{'a'"),
    "a name occurs twice": _file(b'{"a": 1, "a": 2}'),
    "holds a list": _file([]),
    "at most 2": _file({str(i): _entry(8 * i, 8 * i + 8) for i in range(3)}, bytes(24)),
    "must follow its neighbour at 0": _file({"a": _entry(8, 16)}, bytes(16)),
    "must follow its neighbour at 8": _file({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12)),
    "the file has": _file({"a": _entry(0, 8)}, bytes(9)),
    "accounts for": _file({"a": _entry(0, 8)}, bytes(7)),
    "takes 12 bytes": _file({"a": _entry(0, 12)}, bytes(12)),
    "'a' is .*I64": _file({"a": _entry(0, 16, dtype="I64")}, bytes(16)),
    "'a' is .*2, 1, 1": _file({"a": _entry(0, 8, shape=[2, 1, 1])}, bytes(8)),
    "'a' is .*-1": _file({"a": _entry(0, 8, shape=[-1, -2])}, bytes(8)),
    "'a' is .*0, 2": _file({"a": _entry(0, 0, shape=[0, 2])}),
    "'a' is 7": _file({"a": 7}),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_lie_is_found_before_any_loader_reads_it(reason: str) -> None:
    with pytest.raises(AdapterUnusable, match=reason):
        _read(BAD[reason])
