"""Aliases, as steps of the catalog's transactions."""

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.rows import LIVE, pointed_at_by, read_generations, select_generations
from chorus_adapter_store.catalog.schema import aliases, generations
from chorus_adapter_store.values import LATEST, Generation


async def latest_of(connection: AsyncConnection, adapter_id: int) -> Generation | None:
    query = select_generations(generations.c.adapter_id == adapter_id, pointed_at_by(LATEST))
    found = await read_generations(connection, query)
    return found[0] if found else None


async def point(connection: AsyncConnection, adapter_id: int, alias: str, row_id: int) -> None:
    await remove_alias(connection, adapter_id, alias)
    await connection.execute(insert(aliases).values(adapter_id=adapter_id, alias=alias, generation_id=row_id))


async def remove_alias(connection: AsyncConnection, adapter_id: int, alias: str) -> None:
    await connection.execute(delete(aliases).where(aliases.c.adapter_id == adapter_id, aliases.c.alias == alias))


async def remove_aliases(connection: AsyncConnection, chosen: ColumnElement[bool]) -> None:
    """Every alias of the generations that `chosen` selects."""
    rows = select(generations.c.id).where(chosen)
    await connection.execute(delete(aliases).where(aliases.c.generation_id.in_(rows)))


async def repair_latest(connection: AsyncConnection, adapter_id: int) -> None:
    """When "latest" was removed with its generation, it falls back to the newest one left."""
    if await latest_of(connection, adapter_id) is not None:
        return
    newest = select(generations.c.id).where(generations.c.adapter_id == adapter_id, LIVE)
    row_id = (await connection.execute(newest.order_by(generations.c.generation.desc()).limit(1))).scalar_one_or_none()
    if row_id is not None:
        await point(connection, adapter_id, LATEST, row_id)
