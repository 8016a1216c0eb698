"""Rows that transactions begin with."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.rows import PRESENT, insert_if_absent, read_generations, select_generations
from chorus_adapter_store.catalog.schema import adapters, generations
from chorus_adapter_store.errors import NotFound
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import AdapterName, Generation


async def locked_adapter(connection: AsyncConnection, adapter: AdapterName) -> int:
    """The adapter's row, made if need be, and locked: publications of one name go one by one."""
    await connection.execute(
        insert_if_absent(connection, adapters).values(tenant=adapter.tenant, name=adapter.name, next_generation=1)
    )
    return await existing_adapter(connection, adapter, empty=True)


async def existing_adapter(connection: AsyncConnection, adapter: AdapterName, *, empty: bool = False) -> int:
    found = await connection.execute(
        select(adapters.c.id)
        .where(adapters.c.tenant == adapter.tenant, adapters.c.name == adapter.name)
        .with_for_update()
    )
    adapter_id: int | None = found.scalar_one_or_none()
    if adapter_id is None or not (empty or await find_row(connection, adapter_id, PRESENT)):
        raise NotFound(f"adapter {quote(adapter.name)} does not exist")
    return adapter_id


async def locked_row(connection: AsyncConnection, adapter: AdapterName) -> int:
    """The adapter's, also when all of its generations are deleted. Raises NotFound."""
    return await existing_adapter(connection, adapter, empty=True)


async def find_row(connection: AsyncConnection, adapter_id: int, *conditions: ColumnElement[bool]) -> int | None:
    """Of one generation of the adapter."""
    query = select(generations.c.id).where(generations.c.adapter_id == adapter_id, *conditions).limit(1)
    return (await connection.execute(query)).scalar_one_or_none()


async def by_row(connection: AsyncConnection, row_id: int) -> Generation:
    (generation,) = await read_generations(connection, select_generations(generations.c.id == row_id))
    return generation
