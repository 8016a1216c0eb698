import pytest
import torch

from chorus_kernels.linear import linear, pack


@pytest.mark.parametrize("rows", [1, 2, 31, 64, 130])
@pytest.mark.parametrize(("inner", "outer"), [(64, 192), (2049, 3), (192, 385)])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_linear(
    device: torch.device, rows: int, inner: int, outer: int, packed: bool, biased: bool, added: bool
) -> None:
    x, weight = torch.randn(rows, inner, device=device), torch.randn(outer, inner, device=device) * inner**-0.5
    bias = torch.randn(outer, device=device) if biased else None
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    onto = torch.randn(rows, outer, device=device) if added else None
    expected += 0 if onto is None else onto.double()
    y = linear(x, pack(weight) if packed else weight, bias, onto)
    assert onto is None or y is onto
    # Sums of `inner` products of size inner**-0.5 stay near 1; float32 loses a few of their 24 bits.
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
