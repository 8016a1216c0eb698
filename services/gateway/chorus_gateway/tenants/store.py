"""Tenants in the database."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from chorus_gateway.db import Database, TenantRow
from chorus_gateway.errors import Conflict, NotFound
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
        """Conflict when the id is taken."""
        limits = {**asdict(tenant.limits), "budget_period": tenant.limits.budget_period.value}
        row = TenantRow(
            id=tenant.id,
            weight=tenant.weight,
            created_at=time.time(),
            bands=",".join(band.name.lower() for band in sorted(tenant.bands)),
            default_max_tokens=tenant.default_max_tokens,
            suspended_at=time.time() if tenant.suspended else None,
            **limits,
        )
        try:
            async with self._database.session() as session:
                session.add(row)
        except IntegrityError as error:
            raise Conflict(
                f"The tenant '{tenant.id}' exists already; choose another id, or change it by PATCH.", param="id"
            ) from error
        return _record(row)

    async def get(self, tenant_id: str) -> TenantRecord:
        """NotFound for an unknown id."""
        async with self._database.session() as session:
            row = await session.get(TenantRow, tenant_id)
        return _record(_found(row, tenant_id))

    async def all(self) -> tuple[TenantRecord, ...]:
        """Ordered by id."""
        async with self._database.session() as session:
            rows = await session.scalars(select(TenantRow).order_by(TenantRow.id))
            return tuple(_record(row) for row in rows)

    async def update(self, tenant_id: str, changes: Mapping[str, float | int | None]) -> TenantRecord:
        """`changes` are columns by name: `weight` and the limits. NotFound for an unknown id."""
        async with self._database.session() as session:
            row = _found(await session.get(TenantRow, tenant_id), tenant_id)
            for column, value in changes.items():
                setattr(row, column, value)
        return _record(row)


def _found(row: TenantRow | None, tenant_id: str) -> TenantRow:
    if row is None:
        raise NotFound(f"There is no tenant '{tenant_id}'; create it by POST /admin/v1/tenants.", param="tenant")
    return row


def _record(row: TenantRow) -> TenantRecord:
    return TenantRecord(tenant=row.to_tenant(), created_at=row.created_at)
