"""Drawing one token a row from a batch of logits, in one pass, and the log probabilities beside it."""

from chorus_kernels.sampling.batch import Bias, Penalties, RandomRows, SamplingBatch
from chorus_kernels.sampling.dispatch import draw
from chorus_kernels.sampling.noise import gumbel
from chorus_kernels.sampling.sampler import sample, top_logprobs

__all__ = ["Bias", "Penalties", "RandomRows", "SamplingBatch", "draw", "gumbel", "sample", "top_logprobs"]
