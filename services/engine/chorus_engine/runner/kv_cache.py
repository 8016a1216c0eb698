from collections.abc import Sequence

import torch
from torch import Tensor

from chorus_engine.core.spec import Capacity
from chorus_engine.model import ModelConfig
from chorus_engine.runner.allocation import asked_for
from chorus_engine.runner.transfer import upload

Pairs = Sequence[tuple[int, int]]


class KvCache:
    """Keys and values of all layers in blocks, and one block more, `null_block`, that stays zero and pads tables.

    `capacity.swap_blocks` more lie in host memory. All methods take effect in the order of the current stream.
    """

    def __init__(self, config: ModelConfig, capacity: Capacity, dtype: torch.dtype, device: torch.device) -> None:
        """Raises StartError when there is not so much memory."""
        block = (capacity.block_size, 2, config.num_kv_heads, config.head_dim)
        self.null_block = capacity.num_blocks
        with asked_for(f"{capacity.num_blocks} KV blocks", "lower CHORUS_NUM_KV_BLOCKS or the KV cache's memory"):
            self._blocks = torch.empty(config.num_layers, capacity.num_blocks + 1, *block, dtype=dtype, device=device)
        self._blocks[:, self.null_block] = 0
        with asked_for(f"{capacity.swap_blocks} swapped KV blocks", "lower CHORUS_SWAP_SPACE"):
            self._host = torch.empty(
                capacity.swap_blocks, config.num_layers, *block, dtype=dtype, pin_memory=device.type == "cuda"
            )
        self.layers = tuple(layer.flatten(0, 1) for layer in self._blocks)  # each [slots, 2, kv_heads, head_dim]

    @property
    def bytes(self) -> int:
        return self._blocks.nbytes

    def clear(self, blocks: Sequence[int]) -> None:
        """Zeroes blocks."""
        if blocks:
            self._blocks[:, torch.tensor(blocks, device=self._blocks.device)] = 0

    def copy(self, pairs: Pairs) -> None:
        """(from block, to block) each."""
        if pairs:
            source, target = self._index(pairs)
            self._blocks.index_copy_(1, target, self._blocks.index_select(1, source))

    def swap_out(self, pairs: Pairs) -> None:
        """(block, host block) each."""
        for block, host in pairs:  # one block of all layers at a time: megabytes on a model that needs to swap
            self._host[host].copy_(self._blocks[:, block].contiguous(), non_blocking=True)

    def swap_in(self, pairs: Pairs) -> None:
        """(host block, block) each."""
        for host, block in pairs:
            self._blocks[:, block].copy_(self._host[host].to(self._blocks.device, non_blocking=True))

    def _index(self, pairs: Pairs) -> Tensor:
        return upload(torch.tensor(pairs, dtype=torch.int64).T.contiguous(), device=self._blocks.device)
