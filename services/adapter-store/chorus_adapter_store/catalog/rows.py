"""Rows to values: how generations are selected and read, the same for every query."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Insert, Row, Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.schema import adapters, aliases, generations, shares
from chorus_adapter_store.values import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterFacts,
    AdapterName,
    Generation,
    Sharing,
    StoredFile,
    Visibility,
)

LIVE: ColumnElement[bool] = generations.c.retired_at.is_(None)

_GENERATIONS = select(adapters.c.tenant, adapters.c.name, adapters.c.visibility, *generations.c).select_from(
    generations.join(adapters, generations.c.adapter_id == adapters.c.id)
)


def select_generations(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Live generations with their adapter's names."""
    return _GENERATIONS.where(LIVE, *conditions)


def pointed_at_by(alias: str) -> ColumnElement[bool]:
    return generations.c.id.in_(select(aliases.c.generation_id).where(aliases.c.alias == alias))


def numbered(number: int) -> ColumnElement[bool]:
    """Clamped to the column's range, past which PostgreSQL calls the question itself an error."""
    return generations.c.generation == min(number, 2**31 - 1)


def insert_if_absent(connection: AsyncConnection, table: Any) -> Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


async def read_generations(connection: AsyncConnection, query: Select[Any]) -> tuple[Generation, ...]:
    """The generations that `query` selects, in its order, each with the aliases that point at it and its sharing."""
    rows = (await connection.execute(query)).all()
    names: dict[int, list[str]] = {row.id: [] for row in rows}
    pointers = select(aliases.c.generation_id, aliases.c.alias).where(aliases.c.generation_id.in_(list(names)))
    for pointer in await connection.execute(pointers.order_by(aliases.c.alias)) if rows else ():
        names[pointer.generation_id].append(pointer.alias)
    tenants = await _shared_with(connection, {row.adapter_id for row in rows if row.visibility == Visibility.SHARED})
    return tuple(_generation(row, names[row.id], tenants.get(row.adapter_id, [])) for row in rows)


def stored_files(row: Row[Any]) -> tuple[StoredFile, StoredFile]:
    return (
        StoredFile(CONFIG_FILE, row.config_sha256, row.config_size),
        StoredFile(WEIGHTS_FILE, row.weights_sha256, row.weights_size),
    )


async def _shared_with(connection: AsyncConnection, adapter_ids: set[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {adapter_id: [] for adapter_id in adapter_ids}
    query = select(shares).where(shares.c.adapter_id.in_(list(adapter_ids))).order_by(shares.c.tenant)
    for share in await connection.execute(query) if found else ():
        found[share.adapter_id].append(share.tenant)
    return found


def _generation(row: Row[Any], names: Sequence[str], tenants: Sequence[str]) -> Generation:
    config, weights = stored_files(row)
    return Generation(
        adapter=AdapterName(row.tenant, row.name),
        model=row.model,
        base_digest=row.base_digest,
        generation=row.generation,
        digest=row.digest,
        facts=AdapterFacts(rank=row.rank, modules=tuple(row.modules)),
        config=config,
        weights=weights,
        created_at=row.created_at,
        aliases=tuple(names),
        sharing=Sharing(Visibility(row.visibility), tuple(tenants)),
    )
