"""Between host and device without waiting for the device."""

import torch
from torch import Tensor


def upload(values: Tensor, onto: Tensor | None = None, *, device: torch.device | None = None) -> Tensor:
    """A copy of host values on `device`, or written into `onto`, in the order of the current stream.

    A copy from pageable memory would wait until the stream is idle; pinned memory is kept by torch until it was read.
    """
    target = onto.device if onto is not None else device
    assert target is not None, "either a tensor or a device to copy to"
    if target.type == "cuda":
        values = values.pin_memory()
    if onto is None:
        return values.to(target, non_blocking=True)
    return onto.copy_(values, non_blocking=True)


def download(values: Tensor) -> Tensor:
    """A copy on the host, complete when an event recorded after it is."""
    if not values.is_cuda:
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
