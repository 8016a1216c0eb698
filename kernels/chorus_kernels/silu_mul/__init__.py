"""The gated activation between a feed-forward's two products."""

from chorus_kernels.silu_mul.reference import silu_mul

__all__ = ["silu_mul"]
