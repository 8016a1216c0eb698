"""Tenants in the database."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.db import AdapterLimitsRow, ApiKeyRow, Database, TenantRow
from chorus_gateway.errors import Conflict, NotFound
from chorus_gateway.tenants.columns import bands_text
from chorus_gateway.values import Tenant


@dataclass(frozen=True, slots=True)
class TenantRecord:
    tenant: Tenant
    created_at: float  # seconds since 1970


class TenantStore:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: Tenant) -> TenantRecord:
        """Conflict when the id is taken, or was: usage, audit and caches know a deleted tenant by its id."""
        now = time.time()
        row = TenantRow(
            id=tenant.id,
            weight=tenant.weight,
            created_at=now,
            bands=bands_text(tenant.bands),
            default_max_tokens=tenant.default_max_tokens,
            suspended_at=now if tenant.suspended else None,
            **asdict(tenant.limits),
        )
        try:
            async with self._database.session() as session:
                session.add(row)
        except IntegrityError as error:
            raise Conflict(
                f"The tenant '{tenant.id}' exists already or did before; choose another id, or change it by PATCH.",
                param="id",
            ) from error
        return _record(row)

    async def get(self, tenant_id: str) -> TenantRecord:
        """NotFound for an unknown id."""
        async with self._database.session() as session:
            return _record(await tenant_row(session, tenant_id))

    async def all(self) -> tuple[TenantRecord, ...]:
        """Ordered by id."""
        query = select(TenantRow).where(TenantRow.deleted_at.is_(None)).order_by(TenantRow.id)
        async with self._database.session() as session:
            return tuple(_record(row) for row in await session.scalars(query))

    async def update(self, tenant_id: str, changes: Mapping[str, object]) -> TenantRecord:
        """`changes` are columns by name: `weight`, `default_max_tokens`, `bands` (as text) and the limits; and
        `suspended`. NotFound for an unknown id."""
        async with self._database.exclusive() as session:
            row = await tenant_row(session, tenant_id)
            for column, value in changes.items():
                if column == "suspended":
                    row.suspended_at = (row.suspended_at or time.time()) if value else None
                else:
                    setattr(row, column, value)
        return _record(row)

    async def remove(self, tenant_id: str) -> None:
        """For ever; its id is not given out again. NotFound for an unknown id, Conflict while a key of it is good."""
        now = time.time()
        good = select(ApiKeyRow.id).where(
            ApiKeyRow.tenant_id == tenant_id,
            ApiKeyRow.revoked_at.is_(None),
            or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now),
        )
        async with self._database.exclusive() as session:
            row = await tenant_row(session, tenant_id)
            keys = (await session.scalars(good)).all()
            if keys:
                raise Conflict(
                    f"The tenant '{tenant_id}' has keys that are good ({len(keys)}, such as '{keys[0]}'): revoke them "
                    "first.",
                    param="tenant",
                )
            row.deleted_at = now
            await session.execute(delete(AdapterLimitsRow).where(AdapterLimitsRow.tenant_id == tenant_id))


async def tenant_row(session: AsyncSession, tenant_id: str) -> TenantRow:
    """NotFound for an unknown id, a deleted tenant's, and what can be no id (databases refuse some characters)."""
    row = await session.get(TenantRow, tenant_id) if tenant_id.isprintable() else None
    if row is None or row.deleted_at is not None:
        raise NotFound(f"There is no tenant '{tenant_id}'; create it by POST /admin/v1/tenants.", param="tenant")
    return row


def _record(row: TenantRow) -> TenantRecord:
    return TenantRecord(tenant=row.to_tenant(), created_at=row.created_at)
