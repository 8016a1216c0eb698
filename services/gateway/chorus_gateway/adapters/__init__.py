"""The adapter store as the gateway calls it."""

from chorus_gateway.adapters.client import AdapterClient
from chorus_gateway.adapters.values import (
    Adapter,
    AliasChange,
    Download,
    Engine,
    Page,
    Pin,
    Published,
    Resident,
    Resolution,
    State,
    Target,
    Tier,
    Transition,
    UploadHeader,
    Visibility,
)

__all__ = [
    "Adapter",
    "AdapterClient",
    "AliasChange",
    "Download",
    "Engine",
    "Page",
    "Pin",
    "Published",
    "Resident",
    "Resolution",
    "State",
    "Target",
    "Tier",
    "Transition",
    "UploadHeader",
    "Visibility",
]
