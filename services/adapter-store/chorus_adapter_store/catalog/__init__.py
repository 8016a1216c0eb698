"""What the store knows, in SQL: bases, adapters, their generations and aliases."""

from chorus_adapter_store.catalog.aliases import AliasCatalog
from chorus_adapter_store.catalog.bases import BaseCatalog
from chorus_adapter_store.catalog.catalog import Catalog
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.history import HistoryCatalog
from chorus_adapter_store.catalog.lifecycle import LifecycleCatalog
from chorus_adapter_store.catalog.retention import Retention
from chorus_adapter_store.catalog.sharing import SharingCatalog

__all__ = [
    "AliasCatalog",
    "BaseCatalog",
    "Catalog",
    "Database",
    "HistoryCatalog",
    "LifecycleCatalog",
    "Retention",
    "SharingCatalog",
]
