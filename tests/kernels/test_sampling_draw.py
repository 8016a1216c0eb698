import math
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels import sampling as dispatch
from chorus_kernels.sampling import RandomRows, SamplingBatch, sample
from chorus_kernels.sampling import triton as gpu
from chorus_kernels.sampling.noise import gumbel, hash_bits
from tests.kernels.replay import replayed

NO_BFLOAT16 = pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton's interpreter truncates to bfloat16")
DTYPES = [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=NO_BFLOAT16)]
Draw = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(params=["reference", "triton"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def draw(backend: str) -> Draw:
    found: Draw = import_module(f"chorus_kernels.sampling.{backend}").draw
    return found


@pytest.fixture
def place(backend: str, kernel_device: torch.device) -> torch.device:
    return kernel_device if backend == "triton" else torch.device("cpu")


def keys(rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Seeds and positions, none special."""
    numbers = torch.arange(rows, device=device)
    return numbers * 0x9E3779B97F4A7C1 - 5, numbers * 31


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "vocab"), [(1, 5), (3, 1024), (9, 8200)])
def test_greedy_takes_the_likeliest(draw: Draw, place: torch.device, rows: int, vocab: int, dtype: torch.dtype) -> None:
    logits = torch.randn(rows, vocab, device=place).to(dtype)  # of many ties in 16 bits: the lowest token wins
    tokens = draw(logits, torch.zeros(rows, device=place), *keys(rows, place))
    expected = (logits == logits.amax(-1, keepdim=True)).int().argmax(-1)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 12])
def test_draws_are_those_of_sample(draw: Draw, place: torch.device, rows: int, dtype: torch.dtype) -> None:
    """Among thousands of tokens none but the same noise draws the same ones; greedy rows are among them."""
    logits = (2 * torch.randn(rows, 5000, device=place)).to(dtype)
    temperature = torch.linspace(0, 2, rows, device=place)
    seeds, positions = keys(rows, place)
    warm = torch.arange(1, rows, device=place)
    random = RandomRows(warm, temperature[1:], seeds[1:], positions[1:])
    assert torch.equal(
        draw(logits, temperature, seeds, positions), sample(logits, SamplingBatch(random=random))
    )  # fmt: skip


def test_draws_follow_the_softmax(draw: Draw, backend: str, place: torch.device) -> None:
    draws = 20_000 if backend == "reference" or place.type == "cuda" else 300  # interpreted programs are slow
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0], device=place)
    temperature = torch.full((draws,), 0.7, device=place)
    tokens = draw(logits.expand(draws, -1), temperature, *keys(draws, place))
    expected = draws * (logits.double() / 0.7).softmax(-1)
    distance = ((torch.bincount(tokens, minlength=5) - expected).square() / expected).sum().item()
    assert distance < 18.5  # chi-square's 99.9th percentile for 4 degrees of freedom


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy's, in the interpreter
@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e-38, 1e30, math.inf, math.nan])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_give_a_token_and_disturb_no_other(
    draw: Draw, place: torch.device, value: float, temperature: float
) -> None:
    logits = torch.randn(3, 37, device=place)
    temperatures = torch.tensor([1.0, temperature, 0.0], device=place)
    alone = draw(logits, temperatures, *keys(3, place))
    logits[1] = value
    together = draw(logits, temperatures, *keys(3, place))
    assert together[[0, 2]].equal(alone[[0, 2]])
    assert 0 <= together[1] < 37


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forbidden_tokens_are_not_drawn(draw: Draw, place: torch.device, temperature: float) -> None:
    logits = torch.full((20, 1500), -torch.inf, device=place)
    logits[:, 1101] = -3.0
    assert draw(logits, torch.full((20,), temperature, device=place), *keys(20, place)).eq(1101).all()


def test_a_seed_draws_the_same_in_every_batch(draw: Draw, place: torch.device) -> None:
    logits, warmth = torch.randn(10, 1500, device=place), torch.ones(10, device=place)
    seeds, positions = keys(10, place)
    together = draw(logits, warmth, seeds, positions)
    for row in (0, 7):
        part = slice(row, row + 1)
        assert draw(logits[part], warmth[part], seeds[part], positions[part]).equal(together[part])


def test_rows_may_be_parts_of_wider_ones(draw: Draw, place: torch.device) -> None:
    logits = torch.zeros(4, 96, device=place)
    logits[:, 90] = 9.0  # padding of the product, no token
    logits[:, 41] = 1.0
    assert draw(logits[:, :64], torch.zeros(4, device=place), *keys(4, place)).eq(41).all()


@triton.jit  # type: ignore[untyped-decorator] # Triton has no types
def _noise(seeds, positions, bits, noise, VOCAB: tl.constexpr, BLOCK: tl.constexpr, FAST: tl.constexpr):  # type: ignore[no-untyped-def]
    row, token = tl.program_id(0), tl.arange(0, BLOCK)
    hashed = gpu.hash_bits(tl.load(seeds + row), tl.load(positions + row), token)
    values = gpu.gumbel(hashed, FAST)
    tl.store(bits + row * VOCAB + token, hashed.to(tl.int32, bitcast=True), mask=token < VOCAB)
    tl.store(noise + row * VOCAB + token, values, mask=token < VOCAB)


def test_noise_has_the_same_bits_and_nearly_the_same_values(kernel_device: torch.device) -> None:
    seeds = torch.tensor([0, 1, -1, 2**62, -(2**63), 7], device=kernel_device)
    positions = torch.tensor([0, 5, 5, 9, 100_000, 2**40], device=kernel_device)
    for vocab in (1, 3000):
        bits = torch.empty(6, vocab, device=kernel_device, dtype=torch.int32)
        noise = torch.empty(6, vocab, device=kernel_device)
        _noise[(6,)](seeds, positions, bits, noise, VOCAB=vocab, BLOCK=4096, FAST=bits.is_cuda)
        assert torch.equal(bits, hash_bits(seeds, positions, vocab))
        torch.testing.assert_close(noise, gumbel(seeds, positions, vocab), rtol=0, atol=1e-5)


def test_dispatch(device: torch.device) -> None:
    logits = torch.randn(3, 50, device=device)
    tokens = dispatch.draw(logits, torch.zeros(3, device=device), *keys(3, device))
    assert torch.equal(tokens, logits.argmax(-1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rows", [1, 33])
def test_in_a_graph(rows: int) -> None:
    logits, new = torch.randn(2, rows, 128_256, device="cuda", dtype=torch.bfloat16).unbind(0)
    temperature, seeds = torch.zeros(rows, device="cuda"), torch.zeros(rows, device="cuda", dtype=torch.int64)
    positions = seeds.clone()
    warm = torch.arange(rows, device="cuda") % 3 / 2.0
    fresh = keys(rows, torch.device("cuda"))
    tokens = replayed(
        lambda: dispatch.draw(logits, temperature, seeds, positions),
        (logits, new), (temperature, warm), (seeds, fresh[0]), (positions, fresh[1]),
    )  # fmt: skip
    expected = import_module("chorus_kernels.sampling.reference").draw(new, warm, *fresh)
    assert torch.equal(tokens, expected)
