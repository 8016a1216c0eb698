"""Root-mean-square norm, plain and fused with the residual addition before it."""

from chorus_kernels.rms_norm.reference import add_rms_norm, rms_norm

__all__ = ["add_rms_norm", "rms_norm"]
