"""The adapter store as the gateway calls it."""

from chorus_gateway.adapters.client import Adapter, AdapterClient, Published, UploadHeader, Visibility

__all__ = ["Adapter", "AdapterClient", "Published", "UploadHeader", "Visibility"]
