import pytest
import torch

from chorus_kernels.rotary import rotary_store, rotation_table


def rotate64(x: torch.Tensor, positions: torch.Tensor, inv_freq: torch.Tensor) -> torch.Tensor:
    """Each pair (x[i], x[i + half]) as a complex number, turned by position * inv_freq[i]."""
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half].double(), x[..., half:].double())
    angles = (positions.float()[:, None] * inv_freq).double()  # the product is float32 in every implementation
    turned = pairs * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.cat((turned.real, turned.imag), -1)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 2), (4, 2, 16), (6, 1, 64), (3, 3, 80)])
@pytest.mark.parametrize("tokens", [1, 13])
def test_rotates_and_stores(device: torch.device, heads: int, kv_heads: int, head_dim: int, tokens: int) -> None:
    positions = torch.randperm(700, device=device)[:tokens]
    inv_freq = 1 / 1e4 ** (torch.arange(0, head_dim, 2, device=device) / head_dim)
    qkv = torch.randn(tokens, heads + 2 * kv_heads, head_dim, device=device)
    query, key, value = qkv[:, :heads].clone(), qkv[:, heads:-kv_heads].clone(), qkv[:, -kv_heads:].clone()
    cache = torch.full((50, 2, kv_heads, head_dim), torch.nan, device=device)
    slots = torch.randperm(50, device=device)[:tokens]
    table = rotation_table(inv_freq, 700, torch.float32).to(device)

    rotated = rotary_store(qkv, table[positions], slots, cache)

    # Two products and a sum of values near 1.
    for actual, before in ((rotated, query), (cache[slots, 0], key)):
        torch.testing.assert_close(actual.double(), rotate64(before, positions, inv_freq), rtol=1e-5, atol=2e-6)
    assert torch.equal(cache[slots, 1], value)
    others = torch.ones(50, dtype=torch.bool, device=device).index_fill_(0, slots, False)
    assert cache[others].isnan().all()
