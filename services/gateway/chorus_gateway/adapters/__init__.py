"""The adapter store as the gateway calls it."""

from chorus_gateway.adapters.client import AdapterClient
from chorus_gateway.adapters.values import (
    Adapter,
    AliasChange,
    Download,
    Published,
    Resolution,
    State,
    Target,
    Transition,
    UploadHeader,
    Visibility,
)

__all__ = [
    "Adapter",
    "AdapterClient",
    "AliasChange",
    "Download",
    "Published",
    "Resolution",
    "State",
    "Target",
    "Transition",
    "UploadHeader",
    "Visibility",
]
