"""The gateway's SQL: tables, connection, migrations."""

from chorus_gateway.db.batches import batch_lines, batches, file_chunks, files
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
    "batch_lines",
    "batches",
    "connect",
    "file_chunks",
    "files",
    "migrate",
    "usage_days",
    "usage_requests",
]
