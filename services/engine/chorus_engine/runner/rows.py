"""The state of every running row, from its admission to its release."""

import numpy as np
import torch
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.spec import Capacity


class RowTable:
    """Token ids live on the device, so that a sampled token becomes the next step's input without a read-back."""

    def __init__(self, capacity: Capacity, null_block: int, device: torch.device) -> None:
        rows, blocks = capacity.max_num_seqs, -(-capacity.max_model_len // capacity.block_size)
        # One position more than the model's longest sequence: the last token is stored and never computed.
        self.token_ids = torch.zeros(rows, capacity.max_model_len + 1, dtype=torch.int32, device=device)
        self.blocks = np.full((rows, blocks), null_block, dtype=np.int64)
        self.block_counts = np.zeros(rows, dtype=np.int64)
        self.adapter_slots = np.full(rows, BASE_SLOT, dtype=np.int64)
        self._null_block = null_block

    def admit(self, admission: Admission) -> None:
        known = torch.tensor(admission.token_ids, dtype=torch.int32)
        self.token_ids[admission.row, : len(known)] = known
        self.adapter_slots[admission.row] = admission.slot

    def release(self, row: int) -> None:
        self.blocks[row, : self.block_counts[row]] = self._null_block
        self.block_counts[row] = 0
        self.adapter_slots[row] = BASE_SLOT

    def append_blocks(self, step: RowStep) -> None:
        first = self.block_counts[step.row]
        self.blocks[step.row, first : first + len(step.new_blocks)] = step.new_blocks
        self.block_counts[step.row] = first + len(step.new_blocks)

    def store_sampled(self, rows: Tensor, positions: Tensor, tokens: Tensor) -> None:
        """Each [sampled] int64: the row's token at that position."""
        self.token_ids.index_put_((rows, positions), tokens.to(torch.int32))
