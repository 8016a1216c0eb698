"""The numbers of one step, brought to fixed addresses on the device by one copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chorus_engine.runner.streams import Mark

Array = NDArray[Any]

ALIGNMENT = 16  # bytes
TORCH_TYPES = {np.dtype(np.int32): torch.int32, np.dtype(np.int64): torch.int64, np.dtype(np.float32): torch.float32}


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Staging:
    """Fields side by side in pinned memory and, in the same order, on the device.

    The host writes `host` between `begin` and `send`. There are more host buffers than steps in flight, so that none is
    written while its copy is under way; `begin` waits should that ever not be so.
    """

    def __init__(self, fields: Sequence[Field], device: torch.device, buffers: int) -> None:
        self._offsets, size = {}, 0
        for field in fields:
            self._offsets[field.name] = size
            size += -(-field.dtype.itemsize * int(np.prod(field.shape)) // ALIGNMENT) * ALIGNMENT
        self._bytes = torch.zeros(size, dtype=torch.uint8, device=device)
        pinned = device.type == "cuda"
        self._host_bytes = [torch.zeros(size, dtype=torch.uint8, pin_memory=pinned) for _ in range(buffers)]
        self._host = [self._host_views(fields, block) for block in self._host_bytes]
        self._sent = [Mark(device) for _ in range(buffers)]
        self._turn = 0
        self.device = {field.name: self._device_view(field) for field in fields}

    def begin(self) -> Mapping[str, Array]:
        """The host's arrays of the next step; they hold what some earlier step left."""
        self._turn = (self._turn + 1) % len(self._host)
        self._sent[self._turn].wait()
        return self._host[self._turn]

    def send(self, until: str | None = None) -> None:
        """Copies the fields before `until`, or all of them, in the order of the current stream."""
        size = len(self._bytes) if until is None else self._offsets[until]
        self._bytes[:size].copy_(self._host_bytes[self._turn][:size], non_blocking=True)
        self._sent[self._turn] = Mark(self._bytes.device)

    def _device_view(self, field: Field) -> Tensor:
        offset = self._offsets[field.name]
        size = field.dtype.itemsize * int(np.prod(field.shape))
        return self._bytes[offset : offset + size].view(TORCH_TYPES[field.dtype]).view(field.shape)

    def _host_views(self, fields: Sequence[Field], block: Tensor) -> dict[str, Array]:
        memory = block.numpy()
        views = {}
        for field in fields:
            offset, size = self._offsets[field.name], field.dtype.itemsize * int(np.prod(field.shape))
            views[field.name] = memory[offset : offset + size].view(field.dtype).reshape(field.shape)
        return views
