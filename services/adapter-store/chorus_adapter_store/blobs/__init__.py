"""The bytes of adapters, addressed by their SHA-256."""

from chorus_adapter_store.blobs.disk import DiskBlobs
from chorus_adapter_store.blobs.protocol import Blobs, Upload

__all__ = ["Blobs", "DiskBlobs", "Upload"]
