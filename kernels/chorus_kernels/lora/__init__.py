"""Batched low-rank adapters over a rank-paged pool: true ranks mixed, base tokens untouched."""

from chorus_kernels.lora.reference import Part, lora, prepare
from chorus_kernels.lora.site import Segment, Site

__all__ = ["Part", "Segment", "Site", "lora", "prepare"]
