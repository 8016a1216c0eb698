"""Rotary position embedding, fused with the write of keys and values into the paged cache."""

from chorus_kernels.rotary.reference import rotary_store, rotation_table

__all__ = ["rotary_store", "rotation_table"]
