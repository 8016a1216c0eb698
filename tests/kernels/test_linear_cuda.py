"""The product of few rows: interpreted without a device, where the sizes are tiny."""

import pytest
import torch
from torch import Tensor

from chorus_kernels.linear import triton as gpu
from chorus_kernels.linear.triton import Shape

INTERPRETED = [torch.float16, torch.float32]
TYPES = [torch.bfloat16, torch.float16] if torch.cuda.is_available() else INTERPRETED
# A result near 1 is rounded once to the type, from a float32 sum; `onto` is of the type too and near 1.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 1e-5}


def draw(rows: int, inner: int, outs: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.randn(rows, inner, device=device).to(dtype),
        (torch.randn(outs, inner, device=device) * inner**-0.5).to(dtype),
    )


def expected(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    y = x.double() @ weight.double().T
    for term in (bias, onto):
        y = y if term is None else y + term.double()
    return y


def check(y: Tensor, wanted: Tensor) -> None:
    tolerance = TOLERANCE[y.dtype]
    torch.testing.assert_close(y.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "outs"), [(1, 64), (3, 100), (17, 64), (33, 70)])
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("extra", [False, True])
def test_product(
    kernel_device: torch.device, dtype: torch.dtype, rows: int, outs: int, splits: int, extra: bool
) -> None:
    x, weight = draw(rows, 512, outs, dtype, kernel_device)
    bias = torch.randn(outs, device=kernel_device).to(dtype) if extra else None
    onto = torch.randn(rows, outs, device=kernel_device).to(dtype) if extra else None
    wanted = expected(x, weight, bias, onto)
    for _ in range(2):  # the counters of the first must not be met by the second
        target = None if onto is None else onto.clone()
        y = gpu.product(x, weight, bias, target, Shape(64, 128, splits, 2, 4, 3))
        assert target is None or y is target
        check(y, wanted)


@pytest.mark.parametrize("inner", [64, 2049])
def test_rows_of_a_wider_tensor(kernel_device: torch.device, inner: int) -> None:
    wide, weight = draw(5, 2 * inner, 96, torch.float16, kernel_device)
    x, weight = wide[:, :inner], weight[:, inner:]
    check(gpu.linear(x, weight), expected(x, weight))


@pytest.mark.parametrize("dtype", [*TYPES, torch.float32])
@pytest.mark.parametrize(("inner", "outs"), [(2049, 3), (64, 192), (256, 65)])
@pytest.mark.parametrize("extra", [False, True])
def test_any_size(kernel_device: torch.device, dtype: torch.dtype, inner: int, outs: int, extra: bool) -> None:
    for rows in (1, 2, 65, 130):
        x, weight = draw(rows, inner, outs, dtype, kernel_device)
        bias = torch.randn(outs, device=kernel_device).to(dtype) if extra else None
        onto = torch.randn(rows, outs, device=kernel_device).to(dtype) if extra else None
        wanted = expected(x, weight, bias, onto)
        check(gpu.linear(x, weight, bias, onto), wanted)


def test_no_rows(kernel_device: torch.device) -> None:
    x, weight = draw(0, 256, 64, torch.float16, kernel_device)
    assert gpu.linear(x, weight).shape == (0, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
class TestOnCuda:
    SIZES = ((4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096), (896, 1152), (3584, 4608), (2048, 50257))

    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize(("inner", "outs"), SIZES)
    def test_every_count_of_rows(self, dtype: torch.dtype, inner: int, outs: int) -> None:
        x, weight = draw(65, inner, outs, dtype, torch.device("cuda"))
        bias, onto = torch.randn(outs, device="cuda").to(dtype), torch.randn(65, outs, device="cuda").to(dtype)
        plain = expected(x, weight)
        full = plain + bias.double() + onto.double()
        for rows in range(1, 66):
            check(gpu.linear(x[:rows], weight), plain[:rows])
            check(gpu.linear(x[:rows], weight, bias, onto[:rows].clone()), full[:rows])

    @pytest.mark.parametrize(("inner", "outs"), SIZES)
    @pytest.mark.parametrize("rows", [1, 16, 32, 64])
    def test_the_same_bits_each_time(self, inner: int, outs: int, rows: int) -> None:
        x, weight = draw(rows, inner, outs, torch.bfloat16, torch.device("cuda"))
        y = gpu.linear(x, weight)
        assert all(torch.equal(gpu.linear(x, weight), y) for _ in range(20))

    @pytest.mark.parametrize("rows", [1, 8, 31, 64])
    def test_chain_in_a_graph(self, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each product reads what the one before wrote, without waiting for it to end before it starts."""
        # Filling new memory would put a kernel between two products, and what is tested is that there is none.
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
        inner, wide = 1024, 3072
        x = torch.empty(rows, inner, device="cuda", dtype=torch.bfloat16)
        up = [draw(1, inner, wide, torch.bfloat16, x.device)[1] for _ in range(8)]
        down = [draw(1, wide, inner, torch.bfloat16, x.device)[1] for _ in range(8)]

        def chain() -> Tensor:
            y = x
            for first, second in zip(up, down, strict=True):
                y = gpu.linear(gpu.linear(y, first), second)
            return y

        x.normal_()
        chain()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = chain()
        for _ in range(20):
            x.normal_()
            graph.replay()
            wanted = x
            for first, second in zip(up, down, strict=True):
                middle = (wanted.double() @ first.double().T).bfloat16()
                wanted = (middle.double() @ second.double().T).bfloat16()
            error = (y.double() - wanted.double()).norm() / wanted.double().norm()
            assert error < 1e-2  # sixteen roundings to bfloat16, a few of which fall the other way
