"""Who may use an adapter."""

from sqlalchemy import BindParameter, ColumnElement, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.lookups import existing_adapter
from chorus_adapter_store.catalog.rows import PRESENT, read_generations, select_generations
from chorus_adapter_store.catalog.schema import adapters, generations, shares
from chorus_adapter_store.values import AdapterName, Generation, Sharing, Visibility


class SharingCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, adapter: AdapterName, sharing: Sharing) -> Generation:
        """Replaces what was; returns the newest generation. Raises NotFound."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            await _share(connection, adapter_id, sharing)
            newest = select_generations(generations.c.adapter_id == adapter_id, PRESENT).order_by(
                generations.c.generation.desc()
            )
            return (await read_generations(connection, newest.limit(1)))[0]


def usable_by(tenant: str | BindParameter[str]) -> ColumnElement[bool]:
    """Of adapters: those that are the tenant's own, public, or shared with it."""
    shared = select(shares.c.adapter_id).where(shares.c.adapter_id == adapters.c.id, shares.c.tenant == tenant)
    return or_(
        adapters.c.tenant == tenant,
        adapters.c.visibility == Visibility.PUBLIC,
        shared.correlate(adapters).exists(),
    )


async def make_private(connection: AsyncConnection, adapter_id: int) -> None:
    await _share(connection, adapter_id, Sharing())


async def _share(connection: AsyncConnection, adapter_id: int, sharing: Sharing) -> None:
    await connection.execute(
        update(adapters).where(adapters.c.id == adapter_id).values(visibility=sharing.visibility.value)
    )
    await connection.execute(delete(shares).where(shares.c.adapter_id == adapter_id))
    rows = [{"adapter_id": adapter_id, "tenant": tenant} for tenant in sharing.tenants]
    if rows:
        await connection.execute(insert(shares), rows)
