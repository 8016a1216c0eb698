import torch.nn.functional as F
from torch import Tensor


def silu_mul(gate_up: Tensor, delta: Tensor | None = None) -> Tensor:
    """silu(gate) * up, of gate_up + delta."""
    gate, up = (gate_up if delta is None else gate_up + delta).chunk(2, dim=-1)
    return F.silu(gate).mul_(up)
