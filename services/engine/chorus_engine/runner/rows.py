"""The state of every running row, from its admission to its release."""

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from chorus_engine.core.plan import BASE_SLOT, Admission, RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.runner.transfer import upload

GREEDY_BELOW = 1e-5  # a lower temperature overflows the logits and means greedy


class RowTable:
    """Token ids live on the device, so that a sampled token becomes the next step's input without a read-back.

    So do block tables where kernels read them; the host's copy is for those who build a step's inputs there.
    """

    def __init__(self, capacity: Capacity, null_block: int, device: torch.device) -> None:
        rows, blocks = capacity.max_num_seqs, -(-capacity.max_model_len // capacity.block_size)
        self.scratch = rows  # a row that no request has: padding reads and writes it
        # One position more than the model's longest sequence: the last token is stored and never computed.
        self.token_ids = torch.zeros(rows + 1, capacity.max_model_len + 1, dtype=torch.int32, device=device)
        self.blocks = np.full((rows + 1, blocks), null_block, dtype=np.int64)
        self.block_counts = np.zeros(rows + 1, dtype=np.int64)
        self.adapter_slots = np.full(rows + 1, BASE_SLOT, dtype=np.int64)
        self.temperature = np.zeros(rows + 1, dtype=np.float32)
        self.seeds = np.zeros(rows + 1, dtype=np.int64)
        self.device_blocks = torch.full((rows + 1, blocks), null_block, dtype=torch.int32, device=device)
        self._null_block = null_block
        self._untold: list[tuple[int, int, tuple[int, ...]]] = []  # (row, first, blocks) the device does not know

    def admit(self, admission: Admission) -> None:
        row, sampling = admission.row, admission.sampling
        known = torch.from_numpy(np.array(admission.token_ids, dtype=np.int32))
        upload(known, self.token_ids[row, : len(known)])
        self.adapter_slots[row] = admission.slot
        self.temperature[row] = sampling.temperature if sampling.temperature >= GREEDY_BELOW else 0.0
        self.seeds[row] = signed(sampling.seed)
        self._append(row, admission.blocks)

    def release(self, row: int) -> None:
        self.blocks[row, : self.block_counts[row]] = self._null_block
        self.block_counts[row] = 0
        self.adapter_slots[row] = BASE_SLOT

    def append_blocks(self, step: RowStep) -> None:
        self._append(step.row, step.new_blocks)

    def tell_device(self) -> None:
        """Brings the device's block tables up to date."""
        if not self._untold:
            return
        width = self.device_blocks.shape[1]
        cells = np.concatenate([np.arange(len(blocks)) + (row * width + first) for row, first, blocks in self._untold])
        values = np.concatenate([np.array(blocks) for _, _, blocks in self._untold])
        self._untold.clear()
        told = upload(torch.from_numpy(np.stack((cells, values))), device=self.device_blocks.device)
        self.device_blocks.view(-1).index_copy_(0, told[0], told[1].to(torch.int32))

    def store_drafts(self, steps: Sequence[RowStep]) -> None:
        """Those that the plan names, where a step's inputs are looked up; drawn tokens take their places."""
        cells = [(step.row, step.start + 1 + place, token) for step in steps for place, token in enumerate(step.drafts)]
        if cells:
            told = upload(torch.tensor(cells, dtype=torch.int64).T.contiguous(), device=self.token_ids.device)
            self.token_ids.index_put_((told[0], told[1]), told[2].to(torch.int32))

    def tokens_before(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Each [places] int64: the row's token before that position."""
        return self.token_ids[rows, positions - 1].long()

    def without_adapters(self) -> "RowTable":
        """The same rows, seen as the base's."""
        rows = copy(self)
        rows.adapter_slots = np.full_like(self.adapter_slots, BASE_SLOT)
        return rows

    def store_sampled(self, rows: Tensor, positions: Tensor, tokens: Tensor) -> None:
        """Each [sampled] int64: the row's token at that position."""
        self.token_ids.index_put_((rows, positions), tokens.to(torch.int32))

    def _append(self, row: int, blocks: tuple[int, ...]) -> None:
        if blocks:
            first = int(self.block_counts[row])
            self.blocks[row, first : first + len(blocks)] = blocks
            self.block_counts[row] = first + len(blocks)
            self._untold.append((row, first, blocks))


def signed(seed: int) -> int:
    """64 bits as two's complement."""
    seed &= (1 << 64) - 1
    return seed - (1 << 64) if seed >> 63 else seed
