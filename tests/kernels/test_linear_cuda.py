"""The products of few rows: the plain one is interpreted without a device, where sizes are tiny."""

import pytest
import torch
from torch import Tensor

from chorus_kernels.linear import linear
from chorus_kernels.linear import triton as gpu
from chorus_kernels.linear.shape import PART, WHOLE, Shape, padded, tma_shape

TYPES = [torch.bfloat16, torch.float16] if torch.cuda.is_available() else [torch.float16, torch.float32]
# A result near 1 is rounded once to the type, from a float32 sum; with what is added it comes near 4.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 1e-5}
LLAMA = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
OTHERS = ((1152, 896), (896, 4864), (4608, 3584), (50257, 2048), (3, 256))


def draw(rows: int, inner: int, outs: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, inner, device=device).to(dtype)
    return x, (torch.randn(outs, inner, device=device) * inner**-0.5).to(dtype)


def draw_added(rows: int, outs: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """A bias, and what the product is added onto."""
    return torch.randn(outs).to(like), torch.randn(rows, outs).to(like)


def expected(x: Tensor, weight: Tensor, *added: Tensor | None) -> Tensor:
    y = x.double() @ weight.double().T
    for term in added:
        y = y if term is None else y + term.double()
    return y


def check(y: Tensor, wanted: Tensor) -> None:
    tolerance = TOLERANCE[y.dtype]
    torch.testing.assert_close(y.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "outs"), [(1, 64), (3, 100), (17, 64), (33, 70)])
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("added", [False, True])
def test_plain_product(
    kernel_device: torch.device, dtype: torch.dtype, rows: int, outs: int, splits: int, added: bool
) -> None:
    x, weight = draw(rows, 512, outs, dtype, kernel_device)
    bias, onto = draw_added(rows, outs, x) if added else (None, None)
    wanted = expected(x, weight, bias, onto)
    for _ in range(2):  # what the first leaves in the counters must not harm the second
        target = None if onto is None else onto.clone()
        y = gpu.product(x, weight, bias, target, Shape(64, 128, splits, 4, 3))
        assert target is None or y is target
        check(y, wanted)


@pytest.mark.parametrize("dtype", [*TYPES, torch.float32])
@pytest.mark.parametrize(("inner", "outs"), [(2049, 3), (64, 192), (256, 65)])
@pytest.mark.parametrize("added", [False, True])
def test_any_size(kernel_device: torch.device, dtype: torch.dtype, inner: int, outs: int, added: bool) -> None:
    for rows in (0, 1, 2, 65, 130):
        x, weight = draw(rows, inner, outs, dtype, kernel_device)
        bias, onto = draw_added(rows, outs, x) if added else (None, None)
        wanted = expected(x, weight, bias, onto)
        check(gpu.linear(x, weight, bias, onto, False), wanted)


@pytest.mark.parametrize("inner", [128, 2049])
def test_parts_of_wider_tensors(kernel_device: torch.device, inner: int) -> None:
    x, weight = draw(5, 2 * inner, 96, torch.float16, kernel_device)
    x, weight = x[:, :inner], weight[:, inner:]
    check(gpu.linear(x, weight, None, None, False), expected(x, weight))


@pytest.mark.parametrize("rows", [1, 16, 17, 32, 33, 64])
@pytest.mark.parametrize(("outs", "inner"), [*LLAMA, *OTHERS])
def test_blocks_fit_a_multiprocessor(rows: int, outs: int, inner: int) -> None:
    for memory in (WHOLE, PART):
        shape = tma_shape(rows, outs, inner, 132, memory)
        block = shape.stages * (shape.out + padded(rows)) * shape.inner * 2 + 1024  # barriers, and what CUDA takes
        assert block <= 227 * 1024
        assert shape.stages >= 2
        tiles = -(-outs // shape.out)
        assert shape.splits == 1 or (tiles <= gpu.MOST_TILES and tiles * shape.splits <= 132)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
class TestOnCuda:
    device = torch.device("cuda")

    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize(("outs", "inner"), [*LLAMA, *OTHERS])
    def test_every_count_of_rows(self, dtype: torch.dtype, outs: int, inner: int) -> None:
        x, weight = draw(65, inner, outs, dtype, self.device)
        bias, onto = draw_added(65, outs, x)
        plain, full = expected(x, weight), expected(x, weight, bias, onto)
        for rows in range(1, 66):
            check(linear(x[:rows], weight), plain[:rows])
            check(linear(x[:rows], weight, bias, onto[:rows].clone(), beside=True), full[:rows])

    @pytest.mark.parametrize(("outs", "inner"), [*LLAMA, *OTHERS])
    @pytest.mark.parametrize("rows", [1, 16, 32, 64])
    def test_the_same_bits_each_time(self, outs: int, inner: int, rows: int) -> None:
        x, weight = draw(rows, inner, outs, torch.bfloat16, self.device)
        y = linear(x, weight)
        assert all(torch.equal(linear(x, weight), y) for _ in range(20))

    @pytest.mark.parametrize("rows", [1, 8, 31, 64])
    def test_chain_in_a_graph(self, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each product reads what the one before wrote, and starts before that one has ended."""
        # Filling new memory would put a kernel between two products, and what is tested is that there is none.
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
        inner, wide = 1024, 3072
        x = torch.randn(rows, inner, device=self.device).bfloat16()
        weights = [draw(1, *size, torch.bfloat16, self.device)[1] for size in ((inner, wide), (wide, inner)) * 8]

        def chain() -> Tensor:
            y = x
            for weight in weights:
                y = linear(y, weight)
            return y

        chain()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = chain()
        for _ in range(20):
            x.normal_()
            graph.replay()
            wanted = x
            for weight in weights:
                wanted = expected(wanted, weight).bfloat16()
            error = (y.double() - wanted.double()).norm() / wanted.double().norm()
            assert error < 1e-2  # sixteen roundings to bfloat16, of which a few fall the other way
