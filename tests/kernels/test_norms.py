from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import Tensor

from chorus_kernels import rms_norm as dispatch
from tests.kernels.replay import replayed

NO_BFLOAT16 = pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton's interpreter truncates to bfloat16")
DTYPES = [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=NO_BFLOAT16)]


@pytest.fixture(params=["reference", "triton"])
def norms(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(f"chorus_kernels.rms_norm.{request.param}")


@pytest.fixture
def place(norms: ModuleType, kernel_device: torch.device) -> torch.device:
    return kernel_device if norms.__name__.endswith("triton") else torch.device("cpu")


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Accumulated in float32, so right but for its last bits; 16-bit results are rounded once, by half a unit."""
    rounding = 0.0 if actual.dtype == torch.float32 else torch.finfo(actual.dtype).eps / 2
    torch.testing.assert_close(actual.double(), expected, rtol=2e-6 + rounding, atol=2e-6)


def norm64(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [1, 64, 192, 2049])
@pytest.mark.parametrize("tokens", [1, 5])
def test_rms_norm(norms: ModuleType, place: torch.device, tokens: int, hidden: int, dtype: torch.dtype) -> None:
    x, weight = torch.randn(tokens, hidden, device=place).to(dtype), torch.randn(hidden, device=place).to(dtype)
    assert_close(norms.rms_norm(x, weight, 1e-5), norm64(x, weight, 1e-5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [64, 2049])
@pytest.mark.parametrize("with_delta", [False, True])
def test_add_rms_norm_keeps_the_sum(
    norms: ModuleType, place: torch.device, hidden: int, with_delta: bool, dtype: torch.dtype
) -> None:
    x, residual, delta, weight = torch.randn(4, 7, hidden, device=place).to(dtype).unbind(0)
    total = residual.float() + x.float()
    if with_delta:
        total += delta.float()
    y = norms.add_rms_norm(x, residual, weight[0], 1e-6, delta if with_delta else None)
    assert torch.equal(residual, total.to(dtype))
    assert_close(y, norm64(total, weight[0], 1e-6))


def test_rows_may_be_parts_of_wider_ones(norms: ModuleType, place: torch.device) -> None:
    x, delta, weight = torch.randn(3, 5, 96, device=place).unbind(0)
    residual = torch.zeros(5, 32, device=place)
    y = norms.add_rms_norm(x[:, :32], residual, weight[0, :32], 1e-6, delta[:, 32:64])
    assert_close(y, norm64(x[:, :32] + delta[:, 32:64], weight[0, :32], 1e-6))
    assert_close(norms.rms_norm(x[:, 64:], weight[0, :32], 1e-6), norm64(x[:, 64:], weight[0, :32], 1e-6))


def test_zeros_stay_zero(norms: ModuleType, place: torch.device) -> None:
    assert not norms.rms_norm(torch.zeros(2, 8, device=place), torch.ones(8, device=place), 1e-6).any()


def test_one_row_gives_the_same_in_every_batch(norms: ModuleType, place: torch.device) -> None:
    x, weight = torch.randn(9, 300, device=place), torch.randn(300, device=place)
    assert torch.equal(norms.rms_norm(x, weight, 1e-5)[4:5], norms.rms_norm(x[4:5], weight, 1e-5))


def test_dispatch(device: torch.device) -> None:
    x, residual, delta = torch.randn(3, 4, 64, device=device).unbind(0)
    weight = torch.randn(64, device=device)
    assert_close(dispatch.rms_norm(x, weight, 1e-5), norm64(x, weight, 1e-5))
    expected = norm64(x + residual + delta, weight, 1e-5)
    assert_close(dispatch.add_rms_norm(x, residual, weight, 1e-5, delta), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tokens", [1, 33])
def test_in_a_graph(tokens: int) -> None:
    x, residual, delta, *new = torch.randn(6, tokens, 4096, device="cuda", dtype=torch.bfloat16).unbind(0)
    weight = torch.randn(4096, device="cuda", dtype=torch.bfloat16)
    y = replayed(
        lambda: dispatch.add_rms_norm(x, residual, weight, 1e-5, delta),
        *zip((x, residual, delta), new, strict=True),
    )
    total = new[1].float() + new[0].float() + new[2].float()
    assert torch.equal(residual, total.bfloat16())
    assert_close(y, norm64(total, weight, 1e-5))
