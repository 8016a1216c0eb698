"""Tenants, their limits and their keys, kept in SQL."""

from chorus_gateway.tenants.adapter_limits import AdapterLimits, AdapterLimitsRecord
from chorus_gateway.tenants.keys import KeyStore, KeyTerms, StoredKeyInfo
from chorus_gateway.tenants.store import TenantRecord, TenantStore
from chorus_gateway.tenants.terms import ModelTerms, Terms

__all__ = [
    "AdapterLimits",
    "AdapterLimitsRecord",
    "KeyStore",
    "KeyTerms",
    "ModelTerms",
    "StoredKeyInfo",
    "TenantRecord",
    "TenantStore",
    "Terms",
]
