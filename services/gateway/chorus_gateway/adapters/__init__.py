"""The adapter store as the gateway calls it."""

from chorus_gateway.adapters.client import Adapter, AdapterClient, Published, UploadHeader

__all__ = ["Adapter", "AdapterClient", "Published", "UploadHeader"]
