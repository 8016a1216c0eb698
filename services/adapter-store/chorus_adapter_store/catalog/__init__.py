"""What the store knows, in SQL: bases, adapters, their generations and aliases."""

from chorus_adapter_store.catalog.aliases import AliasCatalog
from chorus_adapter_store.catalog.bases import BaseCatalog
from chorus_adapter_store.catalog.catalog import Catalog
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.history import HistoryCatalog
from chorus_adapter_store.catalog.lifecycle import LifecycleCatalog
from chorus_adapter_store.catalog.pins import PinCatalog
from chorus_adapter_store.catalog.placing import PlacingCatalog
from chorus_adapter_store.catalog.retention import Retention
from chorus_adapter_store.catalog.sharing import SharingCatalog
from chorus_adapter_store.catalog.terms import TermCatalog
from chorus_adapter_store.catalog.usage import UsageCatalog

__all__ = [
    "AliasCatalog",
    "BaseCatalog",
    "Catalog",
    "Database",
    "HistoryCatalog",
    "LifecycleCatalog",
    "PinCatalog",
    "PlacingCatalog",
    "Retention",
    "SharingCatalog",
    "TermCatalog",
    "UsageCatalog",
]
