import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, added to `onto` in place where there is one. x: [rows, in]; weight: [out, in]."""
    y = F.linear(x, weight, bias)
    return y if onto is None else onto.add_(y)
