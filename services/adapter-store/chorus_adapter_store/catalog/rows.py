"""Rows to values: how generations are selected and read, the same for every query."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Insert,
    Row,
    Select,
    String,
    and_,
    bindparam,
    cast,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.schema import adapters, aliases, canaries, generations, shares
from chorus_adapter_store.values import (
    CONFIG_FILE,
    EMBEDDING,
    HEAD,
    WEIGHTS_FILE,
    AdapterFacts,
    AdapterName,
    Generation,
    PlacedFile,
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

# What `placed_file` reads. The modules of an adapter are hundreds, of which these two matter.
_OUTER = {EMBEDDING: "has_embedding", HEAD: "has_head"}
PLACED = (
    generations.c.digest,
    generations.c.model,
    generations.c.rank,
    generations.c.weights_size,
    *(
        cast(generations.c.modules, String).contains(f'"{path}"', autoescape=True).label(label)
        for path, label in _OUTER.items()
    ),
)

# Of aliases and canaries in one question: a request waits for its answer.
_ROW_IDS: BindParameter[list[int]] = bindparam("row_ids", expanding=True)
_POINTERS = union_all(
    select(aliases.c.generation_id, aliases.c.alias, null().label("percent")).where(
        aliases.c.generation_id.in_(_ROW_IDS)
    ),
    select(canaries.c.generation_id, canaries.c.alias, canaries.c.percent).where(
        canaries.c.generation_id.in_(_ROW_IDS)
    ),
).order_by("alias")


def select_generations(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Generations with their adapter's names."""
    return _GENERATIONS.where(*conditions)


def pointed_at_by(alias: str | BindParameter[str]) -> ColumnElement[bool]:
    """One generation of an adapter, or two."""
    tables = (aliases, canaries)
    return or_(*(generations.c.id.in_(select(each.c.generation_id).where(each.c.alias == alias)) for each in tables))


def numbered(number: int) -> ColumnElement[bool]:
    return generations.c.generation == in_range(number)


def in_range(number: int) -> int:
    """Clamped to the column's range, past which PostgreSQL calls the question itself an error."""
    return min(number, 2**31 - 1)


def insert_if_absent(connection: AsyncConnection, table: Any) -> Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


async def read_generations(
    connection: AsyncConnection, query: Select[Any], values: Mapping[str, object] | None = None
) -> tuple[Generation, ...]:
    """The generations that `query` selects, in its order, each with the aliases that point at it and its sharing.

    `values`: of its parameters.
    """
    return await connection.run_sync(find_generations, query, values)


def find_generations(
    connection: Connection, query: Select[Any], values: Mapping[str, object] | None = None
) -> tuple[Generation, ...]:
    """As `read_generations`."""
    rows = connection.execute(query, values).all()
    if not rows:
        return ()
    names, portions = _pointers(connection, [row.id for row in rows])
    tenants = _shared_with(connection, {row.adapter_id for row in rows if row.visibility == Visibility.SHARED})
    return tuple(
        replace(
            _generation(row),
            aliases=tuple(names[row.id]),
            canary_of=tuple(portions[row.id]),
            sharing=Sharing(Visibility(row.visibility), tuple(tenants.get(row.adapter_id, ()))),
        )
        for row in rows
    )


def placed_file(row: Row[Any]) -> PlacedFile:
    outer = frozenset(path for path, label in _OUTER.items() if getattr(row, label))
    return PlacedFile(row.digest, frozenset({row.model}), row.rank, row.weights_size, outer)


def stored_files(row: Row[Any]) -> tuple[StoredFile, StoredFile]:
    return (
        StoredFile(CONFIG_FILE, row.config_sha256, row.config_size),
        StoredFile(WEIGHTS_FILE, row.weights_sha256, row.weights_size),
    )


def _pointers(
    connection: Connection, row_ids: list[int]
) -> tuple[dict[int, list[str]], dict[int, list[tuple[str, int]]]]:
    """By generation: the aliases whose first it is, and those of which it is the canary, with its share."""
    names: dict[int, list[str]] = {row_id: [] for row_id in row_ids}
    portions: dict[int, list[tuple[str, int]]] = {row_id: [] for row_id in row_ids}
    for pointer in connection.execute(_POINTERS, {"row_ids": row_ids}):
        if pointer.percent is None:
            names[pointer.generation_id].append(pointer.alias)
        else:
            portions[pointer.generation_id].append((pointer.alias, pointer.percent))
    return names, portions


def _shared_with(connection: Connection, adapter_ids: set[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {adapter_id: [] for adapter_id in adapter_ids}
    query = select(shares).where(shares.c.adapter_id.in_(list(adapter_ids))).order_by(shares.c.tenant)
    for share in connection.execute(query) if found else ():
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
