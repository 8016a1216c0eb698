"""The gateway's SQL: tables, connection, migrations."""

from chorus_gateway.db.database import Database, connect
from chorus_gateway.db.migrate import migrate
from chorus_gateway.db.models import (
    AdapterLimitsRow,
    ApiKeyRow,
    AuditIntentRow,
    AuditRow,
    Base,
    PriceRow,
    TenantRow,
)
from chorus_gateway.db.usage import usage_days, usage_requests

__all__ = [
    "AdapterLimitsRow",
    "ApiKeyRow",
    "AuditIntentRow",
    "AuditRow",
    "Base",
    "Database",
    "PriceRow",
    "TenantRow",
    "connect",
    "migrate",
    "usage_days",
    "usage_requests",
]
