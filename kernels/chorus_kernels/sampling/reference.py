from torch import Tensor

from chorus_kernels.sampling.noise import gumbel


def draw(logits: Tensor, temperature: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """Gumbel-max: the argmax of logits plus temperature times Gumbel noise is a draw from softmax(logits / temperature)."""
    noise = gumbel(seeds, positions, logits.shape[-1])
    return noise.mul_(temperature[:, None]).add_(logits).argmax(-1)
