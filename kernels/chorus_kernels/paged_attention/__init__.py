"""Causal attention of one step over the paged cache: decode rows and prompt chunks mixed, grouped-query heads.

`prepare` is called once a step; what it returns is shared by all layers.
"""

from chorus_kernels.paged_attention.batch import AttentionBatch
from chorus_kernels.paged_attention.reference import Prepared, paged_attention, prepare

__all__ = ["AttentionBatch", "Prepared", "paged_attention", "prepare"]
