import pytest
import torch

from chorus_kernels.rms_norm import add_rms_norm, rms_norm
from chorus_kernels.silu_mul import silu_mul


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """A float32 result of a few hundred to a few thousand well-scaled terms is right but for its last bits."""
    torch.testing.assert_close(actual.double(), expected, rtol=2e-6, atol=2e-6)


def norm64(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()


@pytest.mark.parametrize("hidden", [1, 64, 192, 2049])
@pytest.mark.parametrize("tokens", [1, 5, 33])
def test_rms_norm(device: torch.device, tokens: int, hidden: int) -> None:
    x, weight = torch.randn(tokens, hidden, device=device), torch.randn(hidden, device=device)
    assert_close(rms_norm(x, weight, 1e-5), norm64(x, weight, 1e-5))


@pytest.mark.parametrize("hidden", [64, 2049])
def test_add_rms_norm_keeps_the_sum(device: torch.device, hidden: int) -> None:
    x, residual, weight = torch.randn(3, 7, hidden, device=device).unbind(0)
    expected = x + residual
    y = add_rms_norm(x, residual, weight[0], 1e-6)
    assert torch.equal(residual, expected)
    assert_close(y, norm64(expected, weight[0], 1e-6))


def test_zeros_stay_zero(device: torch.device) -> None:
    assert not rms_norm(torch.zeros(2, 8, device=device), torch.ones(8, device=device), 1e-6).any()


@pytest.mark.parametrize("width", [1, 112, 2049])
def test_silu_mul(device: torch.device, width: int) -> None:
    gate_up = torch.randn(9, 2 * width, device=device)
    before = gate_up.clone()
    gate, up = gate_up.double().chunk(2, -1)
    assert_close(silu_mul(gate_up), gate / (1 + (-gate).exp()) * up)
    assert torch.equal(gate_up, before)
