"""Kernel tests run on the CPU, and on CUDA too where there is a device (marked `gpu`)."""

from collections.abc import Iterator

import pytest
import torch

CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []
DEVICES = ["cpu", *CUDA]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=CUDA or [pytest.param("cpu")])
def kernel_device(request: pytest.FixtureRequest) -> torch.device:
    """Where Triton's kernels run: on CUDA, else interpreted."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def fixed() -> None:
    torch.set_num_threads(1)  # tiny products, and the machine is shared
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """torch.empty is full of NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
