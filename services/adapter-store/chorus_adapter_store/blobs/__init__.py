"""The bytes of adapters, addressed by their SHA-256."""

from chorus_adapter_store.blobs.damage import Damage
from chorus_adapter_store.blobs.disk import DiskBlobs
from chorus_adapter_store.blobs.eviction import Eviction, Policy
from chorus_adapter_store.blobs.memory import MemoryBlobs
from chorus_adapter_store.blobs.protocol import Blobs, Upload

__all__ = ["Blobs", "Damage", "DiskBlobs", "Eviction", "MemoryBlobs", "Policy", "Upload"]
