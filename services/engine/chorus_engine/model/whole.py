"""The digests of the base's own embedding and head, by which an adapter's copy of them is known.

PEFT saves both beside LoRA on them, cast to the dtype that the model was trained in.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from chorus_engine.core.spec import EMBEDDING, HEAD
from chorus_engine.model.digest import file_key, recall, remember
from chorus_engine.model.weights import weight_files

Array = NDArray[Any]
Digests = Mapping[str, Mapping[str, str]]  # module → dtype → 64 hex characters

CHUNK = 1 << 20  # values that are cast and hashed at once
TENSORS = {EMBEDDING: "model.embed_tokens.weight", HEAD: "lm_head.weight"}
_STORED = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A tensor of the checkpoint."""

    path: Path
    file: str  # its key
    name: str

    def key(self, dtype: str) -> str:
        return f"{self.file}#{self.name}:{dtype}"

    def hash(self, dtype: str) -> str | None:
        """None where the checkpoint has it in a dtype that no adapter may have."""
        with safe_open(self.path, framework="pt", device="cpu") as file:
            tensor = file.get_tensor(self.name)  # mapped, not read
            if tensor.dtype not in _STORED:
                return None
            stored = _STORED[tensor.dtype]
            flat = tensor.flatten().view(torch.int16 if tensor.itemsize == 2 else torch.int32).numpy()
            return hash_values(flat, stored, dtype)


class WholeDigests:
    """Computes them on threads of its own, one a dtype, beside the rest of the start."""

    def __init__(self, folder: Path, *, tied: bool, cache: Path | None) -> None:
        """tied: the head is the embedding. Digests are taken from `cache` and kept in it, as the base's digest is.

        Raises StartError where there are no weights.
        """
        self._cache = cache
        self._matrices = _find(folder, tied=tied)
        keys = [matrix.key(dtype) for matrix in set(self._matrices.values()) for dtype in CASTS]
        self._known = recall(cache, keys)
        self._fresh: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._run, args=(dtype,), name=f"whole-{dtype}", daemon=True) for dtype in CASTS
        ]
        for thread in self._threads:
            thread.start()

    def result(self) -> Digests:
        """Waits for the last. A module is missing where its matrix was not found or could not be read."""
        for thread in self._threads:
            thread.join()
        if self._cache is not None and self._fresh:
            remember(self._cache, self._fresh)
        found = self._known | self._fresh
        return {
            path: {dtype: found[matrix.key(dtype)] for dtype in CASTS if matrix.key(dtype) in found}
            for path, matrix in self._matrices.items()
        }

    def _run(self, dtype: str) -> None:
        for matrix in set(self._matrices.values()):
            key = matrix.key(dtype)
            if key in self._known:
                continue
            with suppress(SafetensorError, OSError):  # whoever loads the weights tells of it
                if (digest := matrix.hash(dtype)) is not None:
                    self._fresh[key] = digest


def hash_values(bits: Array, stored: str, dtype: str) -> str:
    """SHA-256 of values cast from `stored` to `dtype`, little-endian. bits: [values] int16 or int32, as stored."""
    sha256 = hashlib.sha256()
    for begin in range(0, len(bits), CHUNK):
        sha256.update(CASTS[dtype](bits[begin : begin + CHUNK], stored).view(np.uint8).data)
    return sha256.hexdigest()


def _find(folder: Path, *, tied: bool) -> dict[str, _Matrix]:
    found: dict[str, _Matrix] = {}
    for path in weight_files(folder):
        with suppress(SafetensorError, OSError), safe_open(path, framework="pt", device="cpu") as file:
            found |= {name: _Matrix(path, file_key(path), name) for name in TENSORS.values() if name in file.keys()}  # noqa: SIM118
    names = TENSORS | {HEAD: TENSORS[EMBEDDING]} if tied else TENSORS
    return {path: found[name] for path, name in names.items() if name in found}


# ---------------------------------------------------------------- casts, each to the nearest, ties to even
# In numpy: torch would put every chunk on threads that the engine's own operations need.


def _to_f32(bits: Array, stored: str) -> Array:
    if stored == "BF16":
        return (bits.view("<u2").astype("<u4") << 16).view("<f4")
    return bits.view("<f2").astype("<f4") if stored == "F16" else bits.view("<f4")


def _to_f16(bits: Array, stored: str) -> Array:
    if stored == "F16":
        return bits
    with np.errstate(over="ignore", under="ignore"):
        return _to_f32(bits, stored).astype("<f2")


def _to_bf16(bits: Array, stored: str) -> Array:
    if stored == "BF16":
        return bits
    wide = _to_f32(bits, stored).view("<u4")
    half = wide >> 16
    half &= 1
    half += 0x7FFF
    half += wide  # rounds, into the exponent where it must
    half >>= 16
    return half.astype("<u2")


CASTS: Mapping[str, Callable[[Array, str], Array]] = {"F32": _to_f32, "F16": _to_f16, "BF16": _to_bf16}
