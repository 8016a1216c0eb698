"""lora_delta against float64, in the shapes of Punica's paper: how requests spread over adapters."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from chorus_kernels.lora import SitePool, Tiles, reference

PAGE = 8
RANKS = (16, 4, 8, 17, 64, 1, 256, 33)
SHAPES = ("identical", "distinct", "uniform", "skewed")

# A shrunk token is rounded to the dtype once and delta once; against the norm of the whole output, each rounding is
# half a unit in the last place at the most. float32 sums up to 2,049 products.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}

LoraDelta = Callable[[Tensor, SitePool, Tiles, int], Tensor]
Entry = tuple[int, int, int]  # first token, past the last, slot
Weights = dict[tuple[int, int], tuple[Tensor, Tensor]]  # slot, module → A, B in float64


@dataclass(frozen=True)
class Backend:
    lora_delta: LoraDelta
    device: torch.device
    dtype: torch.dtype
    large: bool  # sizes that an interpreter would take minutes for


ON_CUDA = torch.cuda.is_available()
TRITON = [
    pytest.param(("triton", dtype), marks=pytest.mark.gpu if ON_CUDA else ())
    for dtype in (torch.float32, torch.float16, torch.bfloat16)[: 3 if ON_CUDA else 2]
]


@pytest.fixture(
    params=[("reference", torch.float32), *TRITON], ids=lambda p: f"{p[0]}-{str(p[1]).removeprefix('torch.')}"
)
def backend(request: pytest.FixtureRequest) -> Backend:
    name, dtype = request.param
    if name == "reference":
        return Backend(reference.lora_delta, torch.device("cpu"), dtype, large=False)
    from chorus_kernels.lora import triton as gpu

    return Backend(gpu.lora_delta, torch.device("cuda" if ON_CUDA else "cpu"), dtype, large=ON_CUDA)


def make_pool(
    backend: Backend, ranks: Sequence[Sequence[int]], inner: int, outs: Sequence[int]
) -> tuple[SitePool, Weights]:
    """ranks[slot][module]; pages in random order; what no adapter owns is NaN or, in the page tables, out of bounds."""
    count = max(sum(-(-rank[m] // PAGE) for rank in ranks) for m in range(len(outs))) + 3
    pages = torch.full((len(ranks), len(outs), max(-(-max(r) // PAGE) for r in ranks) + 1), 2**30, dtype=torch.int32)
    a = torch.full((len(outs), count * PAGE, inner), torch.nan, dtype=backend.dtype)
    b = torch.full((count * PAGE * sum(outs),), torch.nan, dtype=backend.dtype)
    offsets = [count * PAGE * sum(outs[:m]) for m in range(len(outs))]
    weights: Weights = {}
    for m, out in enumerate(outs):
        b_rows = b[offsets[m] :][: count * PAGE * out].view(-1, out)
        free = random.Random(m).sample(range(count), count)
        for slot, rank in enumerate(r[m] for r in ranks):
            own = [free.pop() for _ in range(-(-rank // PAGE))]
            pages[slot, m, : len(own)] = torch.tensor(own)
            rows = [page * PAGE + offset for page in own for offset in range(PAGE)][:rank]
            a[m, rows] = (torch.randn(rank, inner) * inner**-0.5).to(backend.dtype)
            b_rows[rows] = torch.randn(rank, out).to(backend.dtype)
            weights[slot, m] = a[m, rows].double(), b_rows[rows].double()
    table = torch.tensor(ranks, dtype=torch.int32)
    device = backend.device
    pool = SitePool(
        a.to(device), b.to(device), tuple(offsets), tuple(outs), table.to(device), pages.to(device), page_rows=PAGE
    )
    return pool, weights


def groups(shape: str, requests: int) -> list[int]:
    """Requests of each adapter."""
    if shape == "identical":
        return [requests]
    if shape == "distinct":
        return [1] * requests
    if shape == "uniform":
        adapters = math.ceil(requests**0.5)
        return [len(range(first, requests, adapters)) for first in range(adapters)]
    sizes: list[int] = []
    left = requests
    while left:
        sizes.append(min(left, math.ceil(1.5 ** len(sizes))))
        left -= sizes[-1]
    return sizes


def cut(runs: Sequence[tuple[int, int]], limit: int) -> list[Entry]:
    """Tiles of runs of (tokens, slot)."""
    ends = [0]
    for tokens, _ in runs:
        ends.append(ends[-1] + tokens)
    return [
        (first, min(first + limit, stop), slot)
        for (start, stop), (_, slot) in zip(pairwise(ends), runs, strict=True)
        for first in range(start, stop, limit)
    ]


def make_tiles(backend: Backend, entries: Sequence[Entry], limit: int) -> Tiles:
    return Tiles(torch.tensor(entries, dtype=torch.int32, device=backend.device), limit)


def expected(x: Tensor, weights: Weights, entries: Sequence[Entry], outs: Sequence[int]) -> Tensor:
    delta = torch.zeros(len(x), sum(outs), dtype=torch.float64)
    for first, past, slot in entries:
        if slot >= 0:
            pairs = (weights[slot, m] for m in range(len(outs)))
            delta[first:past] = torch.cat([x[first:past].double() @ a.T @ b for a, b in pairs], dim=1)
    return delta


def check(backend: Backend, actual: Tensor, expected: Tensor, entries: Sequence[Entry]) -> None:
    assert actual.dtype is backend.dtype
    error = torch.linalg.norm(actual.cpu().double() - expected)
    assert error <= TOLERANCE[backend.dtype] * torch.linalg.norm(expected)  # both 0 where all tokens are the base's
    for first, past, slot in entries:
        if slot < 0:
            assert not actual[first:past].any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("inner", "outs"), [(64, [48]), (2049, [33, 65])])
@pytest.mark.parametrize("limit", [16, 64])
def test_popularity_shapes(backend: Backend, shape: str, inner: int, outs: list[int], limit: int) -> None:
    sizes = groups(shape, 256 if backend.large else 9 if inner < 1000 else 4)
    ranks = [[RANKS[(slot + m) % len(RANKS)] for m in range(len(outs))] for slot in range(len(sizes))]
    pool, weights = make_pool(backend, ranks, inner, outs)
    runs = [(3, -1), *((size, slot) for slot, size in enumerate(sizes)), (2, -1)]
    entries = [*cut(runs, limit), (0, 0, -1), (0, 0, 0)]  # the last two are padding
    x = torch.randn(sum(tokens for tokens, _ in runs), inner).to(backend.dtype)

    delta = backend.lora_delta(x.to(backend.device), pool, make_tiles(backend, entries, limit), 256)

    check(backend, delta, expected(x, weights, entries, outs), entries)


@pytest.mark.parametrize("limit", [64, 128])
def test_prompts_of_several_adapters(backend: Backend, limit: int) -> None:
    inner, outs, scale = (4096, [4096, 1024, 1024], 16) if backend.large else (40, [20, 12, 12], 1)
    pool, weights = make_pool(backend, [[16, 16, 16], [64, 8, 0], [100, 16, 200]], inner, outs)
    runs = [(1, 1), (17 * scale, 0), (5, -1), (33 * scale, 2), (130 * scale, 1), (20 * scale, -1)]
    entries = cut(runs, limit)
    x = torch.randn(sum(tokens for tokens, _ in runs), inner).to(backend.dtype)

    delta = backend.lora_delta(x.to(backend.device), pool, make_tiles(backend, entries, limit), 200)

    check(backend, delta, expected(x, weights, entries, outs), entries)


@pytest.mark.parametrize("limit", [16, 64])
def test_module_that_an_adapter_lacks_gets_zeros(backend: Backend, limit: int) -> None:
    pool, weights = make_pool(backend, [[8, 0], [0, 0], [0, 3]], 16, [12, 20])
    entries = [(0, 3, 0), (3, 6, 1), (6, 7, 1), (7, 8, 2)]
    x = torch.randn(8, 16).to(backend.dtype)
    delta = backend.lora_delta(x.to(backend.device), pool, make_tiles(backend, entries, limit), 8)
    check(backend, delta, expected(x, weights, entries, [12, 20]), entries)
    assert not delta[:3, 12:].any()
    assert not delta[3:7].any()
    assert not delta[7:, :12].any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's product says so of infinities
@pytest.mark.parametrize("limit", [16, 64])
def test_one_adapters_infinities_reach_no_other_row(backend: Backend, limit: int) -> None:
    pool, _ = make_pool(backend, [[8], [8]], 16, [12])
    pages = pool.pages[0, 0, :1].tolist()
    pool.b.view(-1, 12)[pages[0] * PAGE : pages[0] * PAGE + PAGE] = torch.inf
    entries = [(0, 2, 0), (2, 4, 1), (4, 5, -1)]
    delta = backend.lora_delta(
        torch.randn(5, 16).to(backend.device, backend.dtype), pool, make_tiles(backend, entries, limit), 16
    )
    assert not delta[:2].isfinite().all()
    assert delta[2:].isfinite().all()


@pytest.mark.parametrize("limit", [16, 64])
def test_the_same_inputs_give_the_same_bits(backend: Backend, limit: int) -> None:
    pool, _ = make_pool(backend, [[20, 4], [8, 8]], 600, [32, 16])
    tiles = make_tiles(backend, [(0, 2, 0), (2, 5, 1)], limit)
    x = torch.randn(5, 600).to(backend.device, backend.dtype)
    assert torch.equal(backend.lora_delta(x, pool, tiles, 64), backend.lora_delta(x, pool, tiles, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not ON_CUDA, reason="needs CUDA graphs")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("limit", [16, 64])
def test_graph_serves_other_tables(dtype: torch.dtype, limit: int) -> None:
    from chorus_kernels.lora import triton as gpu

    backend = Backend(gpu.lora_delta, torch.device("cuda"), dtype, large=True)
    outs = [512, 128, 128]
    pool, weights = make_pool(backend, [[16, 16, 16], [4, 64, 0], [17, 1, 33]], 1024, outs)
    steps = [
        [(0, 16, 0), (16, 20, 0), (20, 24, -1), (0, 0, -1)],
        [(0, 1, 1), (1, 2, 2), (2, 12, -1), (12, 24, 0)],
        [(0, 12, -1), (12, 24, -1), (0, 0, -1), (0, 0, -1)],
        [(0, 12, 2), (12, 24, 1), (0, 0, 2), (0, 0, -1)],
    ]
    tiles = make_tiles(backend, steps[0], limit)
    x = torch.randn(24, 1024, device="cuda", dtype=dtype)
    backend.lora_delta(x, pool, tiles, 64)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        delta = backend.lora_delta(x, pool, tiles, 64)
    for entries in [*steps, *steps]:
        tiles.table.copy_(torch.tensor(entries, dtype=torch.int32))
        x.copy_(torch.randn(24, 1024))
        delta.fill_(torch.nan)
        graph.replay()
        check(backend, delta, expected(x.cpu(), weights, entries, outs), entries)
