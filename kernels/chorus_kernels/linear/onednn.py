"""float32 products by oneDNN.

torch gives them to MKL, which on processors that are not Intel's reaches less than half of oneDNN's speed: 80 against
190 GFLOP/s on one core of an AMD EPYC with AVX-512.
"""

import torch
from torch import Tensor

FEWEST_ROWS = 64  # with fewer and a weight that is not packed, oneDNN's set-up costs more than it gains
PACKED_FOR_ROWS = 32  # a layout hint: measured as good as any from 2 to 1,024 rows

AVAILABLE: bool = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call] # torch's
    torch.ops.mkldnn, "_linear_pointwise"
)


def pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)
    return packed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return y
