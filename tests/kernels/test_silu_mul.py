from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import Tensor

from chorus_kernels import silu_mul as dispatch
from tests.kernels.replay import replayed

NO_BFLOAT16 = pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton's interpreter truncates to bfloat16")
DTYPES = [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=NO_BFLOAT16)]


@pytest.fixture(params=["reference", "triton"])
def ops(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(f"chorus_kernels.silu_mul.{request.param}")


@pytest.fixture
def place(ops: ModuleType, kernel_device: torch.device) -> torch.device:
    return kernel_device if ops.__name__.endswith("triton") else torch.device("cpu")


def gated64(gate_up: Tensor, delta: Tensor | None = None) -> Tensor:
    total = gate_up.double() if delta is None else gate_up.double() + delta.double()
    gate, up = total.chunk(2, -1)
    return gate / (1 + (-gate).exp()) * up


def assert_close(actual: Tensor, expected: Tensor, roundings: float = 0.5) -> None:
    """Right but for float32's last bits and for the roundings to 16 bits on the way, in units of the last place."""
    rounding = 0.0 if actual.dtype == torch.float32 else torch.finfo(actual.dtype).eps * roundings
    torch.testing.assert_close(actual.double(), expected, rtol=2e-6 + rounding, atol=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 112, 2049])
def test_silu_mul(ops: ModuleType, place: torch.device, width: int, dtype: torch.dtype) -> None:
    gate_up = (3 * torch.randn(3, 2 * width, device=place)).to(dtype)
    before = gate_up.clone()
    # The reference rounds silu(gate) too.
    assert_close(ops.silu_mul(gate_up), gated64(gate_up), 0.5 if place.type == "cuda" else 1.01)
    assert torch.equal(gate_up, before)


@pytest.mark.parametrize("tokens", [1, 65])  # a small and a large part of a row a program
def test_delta_is_added_first(ops: ModuleType, place: torch.device, tokens: int) -> None:
    gate_up, delta = torch.randn(2, tokens, 2 * 300, device=place).unbind(0)
    assert_close(ops.silu_mul(gate_up, delta), gated64(gate_up, delta))


def test_delta_is_added_in_float32(kernel_device: torch.device) -> None:
    ops = import_module("chorus_kernels.silu_mul.triton")
    gate_up, delta = torch.randn(2, 2, 2 * 40, device=kernel_device).half().unbind(0)
    assert_close(ops.silu_mul(gate_up, delta), gated64(gate_up, delta))


def test_rows_may_be_parts_of_wider_ones(ops: ModuleType, place: torch.device) -> None:
    wide, delta = torch.randn(2, 3, 100, device=place).unbind(0)
    assert_close(ops.silu_mul(wide[:, :64], delta[:, 16:80]), gated64(wide[:, :64], delta[:, 16:80]))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's, in the interpreter
def test_large_gates_neither_overflow_nor_pass(ops: ModuleType, place: torch.device) -> None:
    gate_up = torch.tensor([[-200.0, -1e4, 200.0, 1e4, 1.0, 1.0, 1.0, 1.0]], device=place)
    assert ops.silu_mul(gate_up).tolist() == [[0.0, 0.0, 200.0, 1e4]]


def test_dispatch(device: torch.device) -> None:
    gate_up, delta = torch.randn(2, 3, 64, device=device).unbind(0)
    assert_close(dispatch.silu_mul(gate_up, delta), gated64(gate_up, delta))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tokens", [1, 33])
def test_in_a_graph(tokens: int) -> None:
    gate_up, delta, *new = torch.randn(4, tokens, 28672, device="cuda", dtype=torch.bfloat16).unbind(0)
    y = replayed(lambda: dispatch.silu_mul(gate_up, delta), *zip((gate_up, delta), new, strict=True))
    assert_close(y, gated64(*new))
