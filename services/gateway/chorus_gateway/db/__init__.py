"""The gateway's SQL: tables, connection, migrations."""

from chorus_gateway.db.database import Database, connect
from chorus_gateway.db.migrate import migrate
from chorus_gateway.db.models import ApiKeyRow, Base, TenantRow

__all__ = ["ApiKeyRow", "Base", "Database", "TenantRow", "connect", "migrate"]
