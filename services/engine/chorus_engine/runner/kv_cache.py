from collections.abc import Sequence

import torch

from chorus_engine.core.spec import Capacity
from chorus_engine.model import ModelConfig


class KvCache:
    """Keys and values of all layers in blocks, and one block more, `null_block`, that stays zero and pads tables."""

    def __init__(self, config: ModelConfig, capacity: Capacity, dtype: torch.dtype, device: torch.device) -> None:
        heads, size = config.num_kv_heads, config.head_dim
        self.null_block = capacity.num_blocks
        self._blocks = torch.empty(
            config.num_layers, capacity.num_blocks + 1, capacity.block_size, 2, heads, size, dtype=dtype, device=device
        )
        self._blocks[:, self.null_block] = 0
        self.layers = tuple(layer.flatten(0, 1) for layer in self._blocks)  # each [slots, 2, kv_heads, head_dim]

    def clear(self, blocks: Sequence[int]) -> None:
        """Zeroes blocks that were just given out: padding in them is masked, and masked values must be finite."""
        if blocks:
            self._blocks[:, torch.tensor(blocks, device=self._blocks.device)] = 0
