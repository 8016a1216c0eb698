"""Whole matrices of the base in an upload: PEFT saves them beside LoRA on them unless it is told not to.

The base is shared, so they are taken exactly where they are the base's own, and then nothing looks at them again.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import BinaryIO

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.validate.header import TensorInfo
from chorus_adapter_store.values import EMBEDDING, HEAD, WEIGHTS_FILE, BaseSpec, LinearModule

_WHOLE = re.compile(rf"base_model\.model\.(?:model\.(?P<embedding>{EMBEDDING})|{HEAD})\.(?:base_layer\.)?weight")
_CHUNK_BYTES = 4 << 20
_WITHOUT = "use save_pretrained(..., save_embedding_layers=False)"


def set_apart(tensors: Iterable[TensorInfo]) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Whole matrices by their names, and all other tensors, each in the order given."""
    whole: list[TensorInfo] = []
    others: list[TensorInfo] = []
    for tensor in tensors:
        (whole if _WHOLE.fullmatch(tensor.name) else others).append(tensor)
    return whole, others


def check_whole(file: BinaryIO, tensors: Iterable[TensorInfo], base: BaseSpec) -> None:
    """Raises InvalidArgument unless each is the base's own matrix, to the last bit. tensors: from `set_apart`."""
    modules = {module.path: module for module in base.outer_modules}
    for tensor in tensors:
        match = _WHOLE.fullmatch(tensor.name)
        path = EMBEDDING if match is not None and match["embedding"] else HEAD
        expected = _expected(tensor, modules.get(path), base)
        if _sha256(file, tensor) != expected:
            raise _wrong(
                f"tensor {quote(tensor.name)} differs from base '{base.name}', whose vocabulary is shared and stays as "
                f"it is (this one was resized or trained): train LoRA on {path} instead, or {_WITHOUT} if it should "
                "not have changed"
            )


def _expected(tensor: TensorInfo, module: LinearModule | None, base: BaseSpec) -> str:
    """The digest that the tensor must have. Raises InvalidArgument where it can have none."""
    if module is None or tensor.dtype not in module.weight_sha256:
        raise _wrong(
            f"tensor {quote(tensor.name)} is a whole matrix of the base, which stays as it is here: the vocabulary "
            f"cannot be changed, and the matrix need not be saved; {_WITHOUT}"
        )
    shape = (base.vocab_size, base.hidden_size)
    if tensor.shape != shape:
        raise _wrong(
            f"tensor {quote(tensor.name)} has shape {list(tensor.shape)}, but {module.path} of base '{base.name}' has "
            f"{list(shape)}: a vocabulary of another size cannot be served; train with the base's own"
        )
    return module.weight_sha256[tensor.dtype]


def _sha256(file: BinaryIO, tensor: TensorInfo) -> str:
    sha256 = hashlib.sha256()
    file.seek(tensor.begin)
    for at in range(tensor.begin, tensor.end, _CHUNK_BYTES):
        sha256.update(file.read(min(_CHUNK_BYTES, tensor.end - at)))
    return sha256.hexdigest()


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(WEIGHTS_FILE, message)
