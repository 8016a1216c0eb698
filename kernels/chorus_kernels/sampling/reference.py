from torch import Tensor

from chorus_kernels.sampling.noise import gumbel


def draw(logits: Tensor, temperature: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """The argmax of logits + temperature * Gumbel noise, which is a draw from the softmax of logits / temperature."""
    noise = gumbel(seeds, positions, logits.shape[-1])
    return noise.mul_(temperature[:, None]).add_(logits).argmax(-1)
