import torch
from torch import Tensor


def allowed(logits: Tensor, rows: Tensor, masks: Tensor) -> Tensor:
    bit = torch.arange(32, dtype=torch.int32, device=masks.device)
    bits = (masks[:, :, None] >> bit) & 1  # [masked, words, 32]
    return logits[rows].masked_fill(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf)
