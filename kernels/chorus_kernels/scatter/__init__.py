"""Many pieces of one tensor copied to their places in another, in one launch."""

from torch import Tensor

from chorus_kernels.scatter.reference import scatter as reference

__all__ = ["scatter"]


def scatter(source: Tensor, target: Tensor, pieces: Tensor, longest: int) -> None:
    """target[to : to + length] = source[from : from + length] for each piece (from, to, length).

    source, target: one dimension, one type; pieces: [pieces, 3] int64; longest: the greatest length.
    """
    if not source.is_cuda:
        reference(source, target, pieces)
        return
    from chorus_kernels.scatter.triton import scatter as on_cuda

    on_cuda(source, target, pieces, longest)
