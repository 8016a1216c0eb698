"""The memory itself: one mapping that the engine and its loader share."""

import mmap
import os
import tempfile

import torch
from torch import Tensor

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.convert import Layout
from chorus_engine.adapters.host import HostAdapter, Weights, lay_out
from chorus_engine.core.errors import StartError
from chorus_engine.core.spec import AdapterFootprint

PAGE = mmap.PAGESIZE


class Region:
    """Pages cost nothing until they are written. The descriptor is for the process that maps it too."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Map what another process made."""
        self.descriptor = descriptor
        self.size = size  # bytes
        self._memory = mmap.mmap(descriptor, size)

    @classmethod
    def create(cls, size: int) -> "Region":
        """Raises StartError."""
        size = max(-(-size // PAGE) * PAGE, PAGE)
        descriptor = _open()
        try:
            os.truncate(descriptor, size)
            return cls(descriptor, size)
        except (OSError, ValueError, OverflowError) as error:
            os.close(descriptor)
            raise StartError(
                f"{size / (1 << 30):.3g} GiB of host memory for adapters cannot be mapped ({error}); set "
                "CHORUS_HOST_ADAPTER_MEMORY lower."
            ) from None

    def view(self, span: Span, dtype: torch.dtype) -> Tensor:
        """The span's bytes as values; it keeps the mapping alive, not the span."""
        return torch.frombuffer(self._memory, dtype=dtype, count=span.bytes // dtype.itemsize, offset=span.begin)

    def shape(self, layout: Layout, footprint: AdapterFootprint, span: Span) -> HostAdapter:
        """What the loader wrote to a span, as the adapter that it is."""
        weights = Weights(self.view(span, layout.dtype), lay_out(footprint, layout.modules))
        return HostAdapter(footprint.digest, footprint, weights)

    def close(self) -> None:
        """The mapping goes with its last view."""
        os.close(self.descriptor)


def _open() -> int:
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("chorus-adapters")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
