"""What the model reads of each token of a step: its id, its position and its place in the cache."""

from torch import Tensor

from chorus_kernels.token_inputs.reference import token_inputs as reference

__all__ = ["token_inputs"]


def token_inputs(
    rows: Tensor, positions: Tensor, token_ids: Tensor, block_tables: Tensor, block_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Looks up each token by row and position.

    rows, positions: [tokens] int32; a position of -1 is padding
    token_ids: [rows, positions] int32; block_tables: [rows, blocks] int32
    The results are ids [tokens] int32 (0 for padding), positions [tokens] int64 (0 for padding) and slots [tokens]
    int64, block * block_size + offset (-1 for padding).
    """
    if not rows.is_cuda:
        return reference(rows, positions, token_ids, block_tables, block_size)
    from chorus_kernels.token_inputs.triton import token_inputs as on_cuda

    return on_cuda(rows, positions, token_ids, block_tables, block_size)
