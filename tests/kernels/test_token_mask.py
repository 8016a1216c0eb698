"""Masked rows against the meaning of a mask, bit by bit."""

import pytest
import torch

from chorus_kernels.token_mask import allowed
from chorus_kernels.token_mask.reference import allowed as reference


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 384, 5000])
def test_the_reference_reads_each_bit(vocab: int) -> None:
    logits = torch.randn(4, vocab)
    rows = torch.tensor([3, 0, 3])
    kept = torch.rand(3, vocab) < 0.4
    wanted = torch.where(kept, logits[rows], -torch.inf)
    assert torch.equal(reference(logits, rows, masks_of(kept)), wanted)
    assert torch.equal(allowed(logits, rows, masks_of(kept)), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("vocab", [33, 2048, 5000])
def test_the_kernel_is_the_reference(kernel_device: torch.device, vocab: int, dtype: torch.dtype) -> None:
    from chorus_kernels.token_mask.triton import allowed as kernel

    wide = torch.randn(5, vocab + 7).to(dtype)
    logits = wide[:, :vocab]  # rows lie apart from each other
    rows = torch.tensor([4, 1])
    masks = masks_of(torch.rand(2, vocab) < 0.5)
    wanted = reference(logits, rows, masks)
    actual = kernel(*(tensor.to(kernel_device) for tensor in (logits, rows, masks)))
    assert actual.dtype == dtype
    assert torch.equal(actual.cpu(), wanted)


def masks_of(kept: torch.Tensor) -> torch.Tensor:
    """[rows, vocab] bool as [rows, words] int32."""
    words = -(-kept.shape[1] // 32)
    bits = torch.zeros(len(kept), words * 32, dtype=torch.int64)
    bits[:, : kept.shape[1]] = kept
    values = (bits.view(len(kept), words, 32) << torch.arange(32)).sum(-1)
    return values.to(torch.int32)  # the highest bit is the sign
