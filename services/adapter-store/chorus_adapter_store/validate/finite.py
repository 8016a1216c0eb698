"""Every value finite: one pass over the file in chunks, told by the exponent's bits, whatever the dtype."""

from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.header import TensorInfo
from chorus_adapter_store.values import WEIGHTS_FILE

_CHUNK_BYTES = 4 << 20  # a multiple of every dtype's size
# Unsigned type of the same width, and the bits of the exponent: all set in infinities and NaNs only.
_EXPONENT: dict[str, tuple[str, int]] = {
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}


def check_finite(file: BinaryIO, tensors: Iterable[TensorInfo]) -> None:
    """Raises InvalidArgument naming the first tensor with an infinity or a NaN, and where in it."""
    for tensor in tensors:
        unsigned, exponent = _EXPONENT[tensor.dtype]
        file.seek(tensor.begin)
        for at in range(tensor.begin, tensor.end, _CHUNK_BYTES):
            values = np.frombuffer(file.read(min(_CHUNK_BYTES, tensor.end - at)), dtype=unsigned)
            wrong = (values & exponent) == exponent
            if wrong.any():
                index = (at - tensor.begin) // values.itemsize + int(wrong.argmax())
                raise InvalidArgument(
                    WEIGHTS_FILE, f"tensor {quote(tensor.name)} has a NaN or an infinity at element {index}"
                )
