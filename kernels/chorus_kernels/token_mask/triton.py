import torch
import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait

CHUNK = 2048  # tokens a program


def allowed(logits: Tensor, rows: Tensor, masks: Tensor) -> Tensor:
    vocab = logits.shape[1]
    result = torch.empty((len(rows), vocab), dtype=logits.dtype, device=logits.device)
    chunks = triton.cdiv(vocab, CHUNK)
    _allowed[(len(rows) * chunks,)](
        logits, rows, masks, result, logits.stride(0), masks.stride(0),
        VOCAB=vocab, CHUNK=CHUNK, CHUNKS=chunks, num_warps=4, **options(logits),
    )  # fmt: skip
    return result


@triton.jit
def _allowed(
    logits, rows, masks, result, logits_stride, masks_stride,
    VOCAB: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """result[i] = logits[rows[i]], -inf where bit token % 32 of masks[i, token // 32] is 0; a program a chunk."""
    masked = (tl.program_id(0) // CHUNKS).to(tl.int64)
    token = tl.program_id(0) % CHUNKS * CHUNK + tl.arange(0, CHUNK)
    inside = token < VOCAB
    wait(PDL)
    row = tl.load(rows + masked)
    value = tl.load(logits + row * logits_stride + token, inside, 0.0).to(tl.float32)
    word = tl.load(masks + masked * masks_stride + token // 32, inside, 0)
    value = tl.where((word >> (token % 32)) & 1 != 0, value, float("-inf"))
    tl.store(result + masked * VOCAB + token, value, inside)
    trigger(PDL)
