"""The header parser: every shape of file that has hurt a loader in public is refused, and every sound one is read."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits
from chorus_adapter_store.validate.header import TensorInfo, read_header
from tests.support.often import often

LIMITS = Limits()
ENTRY: Mapping[str, object] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def raw(header: object, data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read(content: bytes, limits: Limits = LIMITS) -> tuple[TensorInfo, ...]:
    return read_header(io.BytesIO(content), len(content), limits)


def refusal(content: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidArgument) as caught:
        read(content, limits)
    return str(caught.value)


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    return target.getvalue()


def test_a_sound_file_is_read() -> None:
    (tensor,) = read(raw({"w": ENTRY, "__metadata__": {"format": "pt"}}))
    assert (tensor.name, tensor.dtype, tensor.shape, tensor.end - tensor.begin) == ("w", "F32", (2, 2), 16)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes are too few"),
        (b"\x10\0\0\0", "too few"),
        (raw({"w": ENTRY})[:20], "cut off"),
        (raw({"w": ENTRY})[:-1], "cut off"),
        (struct.pack("<Q", 2**63) + b"{}", "claims 9223372036854775808 bytes"),
        (raw(b"[1]"), "not a safetensors file"),
        (zipped(), "zip file"),
        (pickle.dumps({"w": [1.0] * 100}, protocol=2), "pickle file"),
        (pickle.dumps({"w": [1.0] * 100}, protocol=5), "pickle file"),
        (raw({"w": ENTRY}) + pickle.dumps("evil"), "bytes follow the last tensor"),
        (raw({"w": ENTRY}, bytes(20)), "4 bytes follow the last tensor"),
        (raw(b'{"w": '), "not valid JSON"),
        (raw(b'{"w\xff": 1}'), "not UTF-8"),
        (raw(b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}'), "NaN is not JSON"),
        (raw(b'{"a": 1, "a": 2}'), "'a' appears twice"),
        (raw(b'{"w": {"dtype": "F32", "dtype": "F16", "shape": [], "data_offsets": [0, 4]}}'), "'dtype' appears twice"),
        (raw(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested more than"),
        (raw(b'{"w":' + b'{"a":' * 20 + b"1" + b"}" * 20 + b"}"), "nested more than"),
        (raw(b'{"w": ' + b"9" * 5000 + b"}"), "not valid JSON"),
        (raw({"w": 1}), "must have exactly the fields"),
        (raw({"w": {**ENTRY, "extra": 1}}), "must have exactly the fields"),
        (raw({"w": {"dtype": "F32"}}), "must have exactly the fields"),
        (raw({"__metadata__": {"a": 1}}), "__metadata__"),
        (raw({"__metadata__": [1]}), "__metadata__"),
        (raw({"w": {**ENTRY, "dtype": "I64"}}), "'I64'; allowed are F32, F16, BF16"),
        (raw({"w": {**ENTRY, "dtype": "f32"}}), "'f32'"),
        (raw({"w": {**ENTRY, "dtype": ["F32"]}}), "dtype"),
        (raw({"w": {**ENTRY, "shape": [2, -2]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [2, 2.0]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [2, True]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": "22"}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [1] * 9}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [2**60, 2**60]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [2**40, 2**40]}}), "takes 16 bytes by its data_offsets, but"),
        (raw({"w": {**ENTRY, "shape": [2, 3]}}), "but 24 by its shape"),
        (raw({"w": {**ENTRY, "data_offsets": [16, 0]}}), "takes -16 bytes"),
        (raw({"w": {**ENTRY, "data_offsets": [-16, 0]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": [0]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": [4, 20]}}, bytes(20)), "leaves 4 bytes unused"),
        (raw({"v": ENTRY, "w": ENTRY}), "overlaps"),
        (raw({"v": ENTRY, "w": {**ENTRY, "data_offsets": [20, 36]}}, bytes(36)), "leaves 4 bytes unused"),
        (raw({}, b"x"), "1 bytes follow"),
        (struct.pack("<Q", 2**64 - 1) + b'{"w": 1}', "claims 18446744073709551615 bytes"),
        (struct.pack("<Q", 2**64 - 8) + b'{"w": 1}', "claims 18446744073709551608 bytes"),  # wraps to 0 when 8 is added
        (struct.pack("<Q", 0) + b"{}", "not a safetensors file"),
        (raw({"w": ENTRY}) + zipped(), "bytes follow the last tensor"),  # also a zip, which is read from its end
        (zipped() + raw({"w": ENTRY}), "zip file"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "claims"),  # gzip
        (b"GGUF\x03\x00\x00\x00" + b"{" + bytes(40), "claims"),
        (b"#!/bin/sh\n{}\n" + bytes(40), "claims"),
        (
            raw({"w": {**ENTRY, "shape": [2**32, 2**32], "data_offsets": [0, 0]}}),
            "takes 0 bytes by its data_offsets, but",
        ),
        (raw({"w": {**ENTRY, "shape": [2**62, 4], "data_offsets": [0, 0]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [2**64 + 2, 2]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "data_offsets": [2**64 - 16, 2**64]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": [2**64, 2**64 + 16]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": [2**47, 2**47 + 16]}}), "bytes unused"),
        (raw({"w": {**ENTRY, "data_offsets": [0, 16, 32]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": None}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "data_offsets": ["0", "16"]}}), "not a begin and an end"),
        (raw({"w": {**ENTRY, "shape": None}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "shape": [[2], 2]}}), "not a list of sizes"),
        (raw({"w": {**ENTRY, "dtype": None}}), "has dtype None"),
        (raw({"w": {**ENTRY, "dtype": "F64"}}), "'F64'; allowed are"),
        (raw({"w": {**ENTRY, "dtype": "F8_E4M3"}}), "'F8_E4M3'; allowed are"),
        (raw({"w": {**ENTRY, "dtype": "BOOL" * 1000}}), "…; allowed are"),
        (raw(b'{"w": {"dtype": "F32", "shape": [1e2], "data_offsets": [0, 16]}}'), "not a list of sizes"),
        (raw(b'{"w": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 16]}}'), "not a list of sizes"),
        (raw(b'{"w": {"dtype": "F32", "shape": [-Infinity], "data_offsets": [0, 16]}}'), "-Infinity is not JSON"),
        (raw(b'{"w": {"dtype": "F32", "shape": [0x10], "data_offsets": [0, 16]}}'), "not valid JSON"),
        (raw(b'{"w": {"dtype": "F32", "shape": [04], "data_offsets": [0, 16]}}'), "not valid JSON"),
        (raw(b'{"a": 1,}'), "not valid JSON"),
        (raw(b'{"a": 1} {"b": 2}'), "not valid JSON"),
        (raw(b"{'a': 1}"), "not valid JSON"),
        (raw(b'{"a\x00b": 1}'), "not valid JSON"),
        (raw(b"\xef\xbb\xbf" + json.dumps({"w": ENTRY}).encode()), "not a safetensors file"),
        (raw(b" " + json.dumps({"w": ENTRY}).encode()), "not a safetensors file"),
        (raw(b'{"\xed\xa0\x80": 1}'), "not UTF-8"),  # a surrogate
        (raw(b'{"\xc0\xaf": 1}'), "not UTF-8"),  # "/" written in two bytes
        (raw(b'{"\\ud800": 1}'), r"tensor '\ud800' must have exactly"),
        (raw({"../../etc/passwd": 1}), "tensor '../../etc/passwd' must have exactly"),
        (raw({"\x1b[31m\nred": 1}), r"tensor '\x1b[31m\nred' must have exactly"),
        (raw({"w" * 100_000: 1}), "…"),
        (raw({"__metadata__": None}), "__metadata__ must map"),
        (raw({"__metadata__": "x"}), "__metadata__ must map"),
        (raw({"__metadata__": {"a": {"b": "c"}}}), "__metadata__ must map"),
        (
            raw({"__metadata__": {f"k{index}": "v" for index in range(20_000)}}),
            "has 20000 entries, more than the 16385",
        ),
    ],
)
def test_a_malicious_or_broken_file_is_refused_in_one_sentence(content: bytes, words: str) -> None:
    message = refusal(content)
    assert words in message
    assert "\n" not in message
    assert len(message) < 400
    assert message.isascii() or "…" in message


def test_a_header_of_100_000_entries_is_refused() -> None:
    entries = {f"w{index}": ENTRY for index in range(100_000)}
    assert "more than the 4194304 allowed" in refusal(raw(entries))
    assert "has 100000 entries" in refusal(raw(entries), Limits(max_header_bytes=1 << 30))


def test_tensors_may_be_empty_and_metadata_is_only_text() -> None:
    entries = {"a": {**ENTRY, "shape": [0, 2], "data_offsets": [0, 0]}, "b": ENTRY}
    found = read(raw({**entries, "__metadata__": {"auto_map": "evil.py", "format": "pt"}}))
    assert {each.name: each.end - each.begin for each in found} == {"a": 0, "b": 16}


def test_a_large_header_is_told_apart_before_it_is_read() -> None:
    class NoReading(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size < 100
            return super().read(size)

    content = struct.pack("<Q", 50 << 20) + b'{"w": 1}'
    with pytest.raises(InvalidArgument, match="52428800 bytes, more than the 4194304 allowed"):
        read_header(NoReading(content), 60 << 20, LIMITS)


def test_a_header_that_looks_like_a_pickle_by_its_length_is_read() -> None:
    """640 bytes of header make the file begin with 80 02, as a pickle of protocol 2 does."""
    text = json.dumps({"w": ENTRY}).encode().ljust(640)
    assert raw(text)[:2] == b"\x80\x02"
    assert [tensor.name for tensor in read(raw(text))] == ["w"]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 5), max_size=3)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.tuples(SHAPES, st.sampled_from([np.float32, np.float16])), max_size=8))
def test_whatever_safetensors_writes_is_read_back(given_tensors: dict[str, tuple[list[int], type]]) -> None:
    tensors: dict[str, np.ndarray] = {name: np.ones(shape, dtype) for name, (shape, dtype) in given_tensors.items()}
    content = save(tensors)
    found = {tensor.name: tensor for tensor in read(content)}
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].shape == array.shape
        assert content[found[name].begin : found[name].end] == array.tobytes()


@settings(deadline=None, max_examples=often(300))
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_never_trusted(data: st.DataObject) -> None:
    content = bytearray(save({"a": np.ones((2, 3), np.float32), "b": np.ones((4,), np.float16)}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        tensors = read(bytes(content))
    except InvalidArgument:
        return
    assert all(0 <= tensor.begin <= tensor.end <= len(content) for tensor in tensors)
