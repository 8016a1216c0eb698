"""The adapter store as the gateway calls it."""

from chorus_gateway.adapters.client import AdapterClient
from chorus_gateway.adapters.values import (
    Adapter,
    AliasChange,
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
    "Published",
    "Resolution",
    "State",
    "Target",
    "Transition",
    "UploadHeader",
    "Visibility",
]
