"""Tenants, their limits and their keys, kept in SQL."""

from chorus_gateway.tenants.keys import KeyStore, StoredKeyInfo
from chorus_gateway.tenants.store import TenantRecord, TenantStore

__all__ = ["KeyStore", "StoredKeyInfo", "TenantRecord", "TenantStore"]
