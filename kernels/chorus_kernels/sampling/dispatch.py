from torch import Tensor

from chorus_kernels.sampling import reference


def draw(logits: Tensor, temperature: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """One token a row: a draw from the softmax of logits / temperature, or the likeliest one where that is 0.

    logits: [rows, vocab]; temperature: [rows] float32; seeds, positions (of the token to be drawn): [rows] int64.
    The result is [rows] int64, always a token of the vocabulary; of equal ones the lowest. What a row draws depends on
    its own values alone.
    """
    if logits.is_cuda:
        from chorus_kernels.sampling import triton as gpu

        return gpu.draw(logits, temperature, seeds, positions)
    return reference.draw(logits, temperature, seeds, positions)
