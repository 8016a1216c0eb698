"""Page-locks a region for CUDA, once and as a whole, so that nothing is page-locked while requests run."""

from typing import Any

import torch

from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.region import Region
from chorus_engine.core.errors import StartError


def pin(region: Region) -> None:
    """Copies from it to the device then need not wait. Raises StartError."""
    status = int(_runtime().cudaHostRegister(_address(region), region.size, 0))
    if status != 0:
        raise StartError(
            f"CUDA cannot page-lock {region.size / (1 << 30):.3g} GiB of host memory for adapters (error {status}); "
            "set CHORUS_HOST_ADAPTER_MEMORY lower, or allow the process more locked memory."
        )


def unpin(region: Region) -> None:
    """After the last copy from it."""
    _runtime().cudaHostUnregister(_address(region))


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]  # torch gives no types for it


def _address(region: Region) -> int:
    return region.view(Span(0, region.size), torch.uint8).data_ptr()
