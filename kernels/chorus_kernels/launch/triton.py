"""Programmatic dependent launch: a kernel's blocks start while the kernel before it still runs.

Every kernel of a step is launched so. It must `wait` before it reads what another kernel wrote, and at least one block
must do so whatever the input: a kernel whose blocks all end without having waited lets the next one overtake the one
before. What no kernel of a step writes (weights, tables) may be read before. `trigger` lets the next kernel's blocks
start: at once in a short kernel before a product, which then fetches its first weights meanwhile (0.2 ms a decode step
on an H200), else after the main loop, since earlier they take registers and bandwidth from it.

Source: CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization".
"""

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

HOPPER = (9, 0)
FEW_ROWS = 64  # up to which our own product streams weights


@triton.jit
def wait(PDL: tl.constexpr):
    """Until all kernels before this one have ended and what they wrote can be read."""
    if PDL:
        gdc_wait()


@triton.jit
def trigger(PDL: tl.constexpr):
    """The kernel after this one may start, once all blocks have said so or ended."""
    if PDL:
        gdc_launch_dependents()


def options(tensor: Tensor, rows: int = 0) -> dict[str, Any]:
    """Keyword arguments of every launch on this tensor's device. Kernels take `PDL` as a constexpr.

    rows: of the products that this kernel stands between, where it does. With many of them the library computes the
    product, which starts nothing early; dependent launches around it then cost 1.5 to 2.8% of a step on an H200.
    """
    return _options(tensor.device.index, rows <= FEW_ROWS) if tensor.is_cuda else {"PDL": False}


@cache
def _options(index: int | None, few: bool) -> dict[str, Any]:
    dependent = few and torch.cuda.get_device_capability(index) >= HOPPER and torch.version.hip is None
    return {"PDL": True, "launch_pdl": True} if dependent else {"PDL": False}
