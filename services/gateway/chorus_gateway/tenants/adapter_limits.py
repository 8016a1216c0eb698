"""Limits of a tenant's use of single adapters."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from chorus_gateway.db import AdapterLimitsRow, Database
from chorus_gateway.errors import NotFound
from chorus_gateway.tenants.columns import set_limits
from chorus_gateway.tenants.store import tenant_row
from chorus_gateway.values import Limits


@dataclass(frozen=True, slots=True)
class AdapterLimitsRecord:
    tenant_id: str
    owner: str
    name: str
    limits: Limits


class AdapterLimits:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_tenant(self, tenant_id: str) -> Mapping[tuple[str, str], Limits]:
        """By the adapter's owner and name; empty for an unknown tenant."""
        query = select(AdapterLimitsRow).where(AdapterLimitsRow.tenant_id == tenant_id)
        async with self._database.session() as session:
            return {(row.owner, row.name): row.to_limits() for row in await session.scalars(query)}

    async def all(self, tenant_id: str) -> tuple[AdapterLimitsRecord, ...]:
        """By owner and name. NotFound for an unknown tenant."""
        await self._require(tenant_id)
        found = sorted((await self.of_tenant(tenant_id)).items())
        return tuple(AdapterLimitsRecord(tenant_id, *adapter, limits) for adapter, limits in found)

    async def get(self, tenant_id: str, owner: str, name: str) -> AdapterLimitsRecord:
        """NotFound where there are none."""
        async with self._database.session() as session:
            await tenant_row(session, tenant_id)
            row = await session.get(AdapterLimitsRow, (tenant_id, owner, name))
        if row is None:
            raise _none(tenant_id, owner, name)
        return AdapterLimitsRecord(tenant_id, owner, name, row.to_limits())

    async def put(self, tenant_id: str, owner: str, name: str, limits: Limits) -> AdapterLimitsRecord:
        """They replace what was. NotFound for an unknown tenant; the adapter may come later."""
        await self._require(tenant_id)
        row = AdapterLimitsRow(tenant_id=tenant_id, owner=owner, name=name)
        set_limits(row, limits)
        async with self._database.exclusive() as session:
            await session.merge(row)
        return AdapterLimitsRecord(tenant_id, owner, name, limits)

    async def remove(self, tenant_id: str, owner: str, name: str) -> None:
        """NotFound where there are none."""
        async with self._database.session() as session:
            await tenant_row(session, tenant_id)
            row = await session.get(AdapterLimitsRow, (tenant_id, owner, name))
            if row is None:
                raise _none(tenant_id, owner, name)
            await session.delete(row)

    async def _require(self, tenant_id: str) -> None:
        async with self._database.session() as session:
            await tenant_row(session, tenant_id)


def _none(tenant_id: str, owner: str, name: str) -> NotFound:
    return NotFound(f"There are no limits of tenant '{tenant_id}' on the adapter '{owner}/{name}'.", param="name")
