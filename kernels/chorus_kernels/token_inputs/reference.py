import torch
from torch import Tensor


def token_inputs(
    rows: Tensor, positions: Tensor, token_ids: Tensor, block_tables: Tensor, block_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    padding = positions < 0
    row, position = rows.long(), positions.long().clamp(min=0)
    ids = token_ids[row, position].masked_fill(padding, 0)
    blocks = block_tables[row, position // block_size].long()
    slots = torch.where(padding, -1, blocks * block_size + position % block_size)
    return ids, position, slots
