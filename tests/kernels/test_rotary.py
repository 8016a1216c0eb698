from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import Tensor

from chorus_kernels import rotary as dispatch
from chorus_kernels.rotary import rotation_table
from tests.kernels.replay import replayed

NO_BFLOAT16 = pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton's interpreter truncates to bfloat16")
DTYPES = [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=NO_BFLOAT16)]
EPS = 1e-6


@pytest.fixture(params=["reference", "triton"])
def ops(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(f"chorus_kernels.rotary.{request.param}")


@pytest.fixture
def place(ops: ModuleType, kernel_device: torch.device) -> torch.device:
    return kernel_device if ops.__name__.endswith("triton") else torch.device("cpu")


def rotate64(x: Tensor, positions: Tensor, inv_freq: Tensor) -> Tensor:
    """Each pair (x[i], x[i + half]) as a complex number, turned by position * inv_freq[i]."""
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half].double(), x[..., half:].double())
    angles = (positions.float()[:, None] * inv_freq).double()  # the product is float32 in every implementation
    turned = pairs * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.cat((turned.real, turned.imag), -1)


def norm64(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()


def frequencies(head_dim: int, device: torch.device) -> Tensor:
    """The same bits on every device: at position 700 the last one turns an angle by 3e-5."""
    return (1 / 1e4 ** (torch.arange(0, head_dim, 2) / head_dim)).to(device)


def rotations(positions: Tensor, head_dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    inv_freq = frequencies(head_dim, torch.device("cpu"))
    return rotation_table(inv_freq, 700, dtype).to(positions.device)[positions]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"), [(1, 1, 2), (4, 2, 16), (6, 1, 64), (3, 3, 80), (9, 5, 96), (2, 1, 256)]
)
@pytest.mark.parametrize("tokens", [1, 17])
def test_rotates_and_stores(
    ops: ModuleType, place: torch.device, heads: int, kv_heads: int, head_dim: int, tokens: int
) -> None:
    positions = torch.randperm(700, device=place)[:tokens]
    qkv = torch.randn(tokens, heads + 2 * kv_heads, head_dim, device=place)
    query, key, value = qkv[:, :heads].clone(), qkv[:, heads:-kv_heads].clone(), qkv[:, -kv_heads:].clone()
    cache = torch.full((50, 2, kv_heads, head_dim), torch.nan, device=place)
    slots = torch.randperm(50, device=place)[:tokens]

    rotated = ops.rotary_store(qkv, rotations(positions, head_dim), slots, cache)

    # Two products and a sum of values near 1.
    inv_freq = frequencies(head_dim, place)
    for actual, before in ((rotated, query), (cache[slots, 0], key)):
        torch.testing.assert_close(actual.double(), rotate64(before, positions, inv_freq), rtol=1e-5, atol=2e-6)
    assert torch.equal(cache[slots, 1], value)
    assert rotated.data_ptr() == qkv.data_ptr()
    others = torch.ones(50, dtype=torch.bool, device=place).index_fill_(0, slots, False)
    assert cache[others].isnan().all()


@pytest.mark.parametrize("head_dim", [64, 80])
def test_delta_then_norm_then_rotation(ops: ModuleType, place: torch.device, head_dim: int) -> None:
    heads, kv_heads, tokens = 4, 2, 5
    qkv, delta = torch.randn(2, tokens, heads + 2 * kv_heads, head_dim, device=place).unbind(0)
    weight = torch.randn(heads + kv_heads, head_dim, device=place)
    positions, slots = torch.arange(5, device=place) * 9, torch.arange(5, device=place)
    total = qkv.double() + delta.double()
    cache = torch.zeros(5, 2, kv_heads, head_dim, device=place)

    query = ops.rotary_store(
        qkv, rotations(positions, head_dim), slots, cache, delta=delta, qk_norm=weight, eps=EPS
    )  # fmt: skip

    expected = rotate64(norm64(total[:, :-kv_heads], weight), positions, frequencies(head_dim, place))
    # A norm, whose values are up to about 10, then two products and a sum.
    torch.testing.assert_close(query.double(), expected[:, :heads], rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(cache[:, 0].double(), expected[:, heads:], rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(cache[:, 1].double(), total[:, -kv_heads:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_rounds_once(kernel_device: torch.device, dtype: torch.dtype) -> None:
    ops = import_module("chorus_kernels.rotary.triton")
    qkv, delta = torch.randn(2, 3, 4, 64, device=kernel_device).to(dtype).unbind(0)
    weight = torch.randn(3, 64, device=kernel_device).to(dtype)
    positions = torch.tensor([3, 690, 0], device=kernel_device)
    cache = torch.zeros(3, 2, 1, 64, device=kernel_device, dtype=dtype)
    expected = norm64(qkv[:, :3].double() + delta[:, :3].double(), weight)
    expected = rotate64(expected, positions, frequencies(64, kernel_device))
    query = ops.rotary_store(
        qkv, rotations(positions, 64), torch.arange(3, device=kernel_device), cache,
        delta=delta, qk_norm=weight, eps=EPS,
    )  # fmt: skip
    rtol = 1e-5 + (0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2)
    torch.testing.assert_close(torch.cat((query, cache[:, 0]), 1).double(), expected, rtol=rtol, atol=5e-6)


def test_padding_is_not_stored(ops: ModuleType, place: torch.device) -> None:
    qkv = torch.randn(3, 4, 16, device=place)
    cache = torch.full((4, 2, 1, 16), torch.nan, device=place)
    value = qkv[1, 3].clone()
    slots = torch.tensor([-1, 2, -5], device=place)
    query = ops.rotary_store(qkv, rotations(torch.arange(3, device=place), 16), slots, cache)
    assert query.isfinite().all()
    assert torch.equal(cache[2, 1, 0], value)
    assert cache[[0, 1, 3]].isnan().all()


def test_layers_may_share_a_storage(ops: ModuleType, place: torch.device) -> None:
    caches = torch.full((3, 2, 2, 1, 16), torch.nan, device=place)  # [slots, layers, 2, kv_heads, head_dim]
    qkv, slots = torch.randn(2, 4, 16, device=place), torch.tensor([2, 0], device=place)
    ops.rotary_store(qkv, rotations(slots, 16), slots, caches[:, 1])
    assert caches[:, 0].isnan().all()
    assert torch.equal(caches[slots, 1, 1], qkv[:, 3:])


def test_tokens_may_be_parts_of_wider_rows(ops: ModuleType, place: torch.device) -> None:
    wide, delta = torch.randn(2, 3, 80, device=place).unbind(0)
    positions = torch.arange(3, device=place)
    cache = torch.zeros(3, 2, 1, 16, device=place)
    before = wide.clone()
    qkv, delta = wide[:, :64].view(3, 4, 16), delta[:, 16:].view(3, 4, 16)
    total = (qkv + delta).clone()
    query = ops.rotary_store(qkv, rotations(positions, 16), positions, cache, delta=delta)
    expected = rotate64(total[:, :2], positions, frequencies(16, place))
    torch.testing.assert_close(query.double(), expected, rtol=1e-5, atol=2e-6)
    assert torch.equal(wide[:, 64:], before[:, 64:])


def test_dispatch(device: torch.device) -> None:
    qkv, slots = torch.randn(2, 4, 16, device=device), torch.tensor([1, -1], device=device)
    value, cache = qkv[0, 3].clone(), torch.zeros(2, 2, 1, 16, device=device)
    query = dispatch.rotary_store(qkv, rotations(slots.abs(), 16), slots, cache)
    assert query.shape == (2, 2, 16)
    assert torch.equal(cache[1, 1, 0], value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tokens", [1, 33])
def test_in_a_graph(tokens: int) -> None:
    heads, kv_heads, head_dim = 32, 8, 128
    qkv, delta, *new = torch.randn(4, tokens, 48, head_dim, device="cuda").bfloat16().unbind(0)
    positions = torch.randperm(700, device="cuda")[:tokens]
    rotation, slots = rotations(positions * 0, head_dim), torch.full_like(positions, -1)
    cache = torch.zeros(64, 2, kv_heads, head_dim, device="cuda", dtype=torch.bfloat16)
    new_slots = torch.randperm(64, device="cuda")[:tokens]
    query = replayed(
        lambda: dispatch.rotary_store(qkv, rotation, slots, cache, delta=delta),
        (qkv, new[0]), (delta, new[1]), (rotation, rotations(positions, head_dim)), (slots, new_slots),
    )  # fmt: skip
    total = new[0].double() + new[1].double()
    expected = rotate64(total[:, : heads + kv_heads], positions, frequencies(head_dim, torch.device("cuda")))
    actual = torch.cat((query, cache[new_slots, 0]), 1)
    # Rounded once to bfloat16.
    torch.testing.assert_close(actual.double(), expected, rtol=2**-8, atol=5e-6)
    torch.testing.assert_close(cache[new_slots, 1].double(), total[:, -kv_heads:], rtol=2**-8, atol=1e-6)
