"""Rows to values: how generations are selected and read, the same for every query."""

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Insert, Row, Select, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.schema import adapters, aliases, canaries, generations, shares
from chorus_adapter_store.values import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterFacts,
    AdapterName,
    Generation,
    Sharing,
    State,
    StoredFile,
    Visibility,
)

# Not deleted; of those, what requests may use; and what can be restored.
PRESENT: ColumnElement[bool] = generations.c.deleted_at.is_(None)
LIVE: ColumnElement[bool] = and_(PRESENT, generations.c.retired_at.is_(None))
DELETED: ColumnElement[bool] = generations.c.deleted_at.is_not(None)

_GENERATIONS = select(adapters.c.tenant, adapters.c.name, adapters.c.visibility, *generations.c).select_from(
    generations.join(adapters, generations.c.adapter_id == adapters.c.id)
)


def select_generations(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Generations with their adapter's names."""
    return _GENERATIONS.where(*conditions)


def pointed_at_by(alias: str) -> ColumnElement[bool]:
    """One generation of an adapter, or two."""
    tables = (aliases, canaries)
    return or_(*(generations.c.id.in_(select(each.c.generation_id).where(each.c.alias == alias)) for each in tables))


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
    if not rows:
        return ()
    names = await _aliases(connection, [row.id for row in rows])
    portions = await _canaries(connection, [row.id for row in rows])
    tenants = await _shared_with(connection, {row.adapter_id for row in rows if row.visibility == Visibility.SHARED})
    return tuple(
        replace(
            _generation(row),
            aliases=tuple(names[row.id]),
            canary_of=tuple(portions[row.id]),
            sharing=Sharing(Visibility(row.visibility), tuple(tenants.get(row.adapter_id, ()))),
        )
        for row in rows
    )


def stored_files(row: Row[Any]) -> tuple[StoredFile, StoredFile]:
    return (
        StoredFile(CONFIG_FILE, row.config_sha256, row.config_size),
        StoredFile(WEIGHTS_FILE, row.weights_sha256, row.weights_size),
    )


async def _aliases(connection: AsyncConnection, row_ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {row_id: [] for row_id in row_ids}
    query = select(aliases).where(aliases.c.generation_id.in_(row_ids)).order_by(aliases.c.alias)
    for pointer in await connection.execute(query):
        found[pointer.generation_id].append(pointer.alias)
    return found


async def _canaries(connection: AsyncConnection, row_ids: list[int]) -> dict[int, list[tuple[str, int]]]:
    found: dict[int, list[tuple[str, int]]] = {row_id: [] for row_id in row_ids}
    query = select(canaries).where(canaries.c.generation_id.in_(row_ids)).order_by(canaries.c.alias)
    for pointer in await connection.execute(query):
        found[pointer.generation_id].append((pointer.alias, pointer.percent))
    return found


async def _shared_with(connection: AsyncConnection, adapter_ids: set[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {adapter_id: [] for adapter_id in adapter_ids}
    query = select(shares).where(shares.c.adapter_id.in_(list(adapter_ids))).order_by(shares.c.tenant)
    for share in await connection.execute(query) if found else ():
        found[share.adapter_id].append(share.tenant)
    return found


def _generation(row: Row[Any]) -> Generation:
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
        state=_state(row),
        reason=row.reason,
    )


def _state(row: Row[Any]) -> State:
    if row.deleted_at is not None:
        return State.DELETED
    return State.PUBLISHED if row.retired_at is None else State.RETIRED
