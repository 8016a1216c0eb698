"""Leaves a row only the tokens that a mask allows."""

from torch import Tensor

from chorus_kernels.token_mask.reference import allowed as reference

__all__ = ["allowed"]


def allowed(logits: Tensor, rows: Tensor, masks: Tensor) -> Tensor:
    """result[i] = logits[rows[i]] where masks[i] allows the token, else -inf.

    logits: [batch, vocab]; rows: [masked] int64; masks: [masked, words] int32, token t is bit t % 32 of word t // 32,
    and words * 32 is at least vocab. The result is [masked, vocab] of the logits' dtype.
    """
    if not logits.is_cuda:
        return reference(logits, rows, masks)
    from chorus_kernels.token_mask.triton import allowed as on_cuda

    return on_cuda(logits, rows, masks)
