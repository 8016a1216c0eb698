"""Aliases, as steps of the catalog's transactions. Every change is noted, so that it can be rolled back."""

from sqlalchemy import ColumnElement, and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.lookups import find_row
from chorus_adapter_store.catalog.rows import LIVE, numbered, pointed_at_by, read_generations, select_generations
from chorus_adapter_store.catalog.schema import alias_changes, aliases, canaries, generations
from chorus_adapter_store.errors import Precondition
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import LATEST, AliasChange, Generation, Target

HISTORY = 100  # changes of an alias that are kept


class NoGeneration(Exception):
    """A target's generation is not there, or not any more."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


async def latest_of(connection: AsyncConnection, adapter_id: int) -> Generation | None:
    query = select_generations(generations.c.adapter_id == adapter_id, LIVE, pointed_at_by(LATEST))
    found = await read_generations(connection, query)
    return next((each for each in found if LATEST in each.aliases), None)


async def point(connection: AsyncConnection, adapter_id: int, alias: str, target: Target, now: float) -> int:
    """Returns the row of the target's generation. Raises NoGeneration."""
    row_id = await _row(connection, adapter_id, target.generation)
    canary_id = await _row(connection, adapter_id, target.canary) if target.canary else None
    await _unpoint(connection, adapter_id, alias)
    await connection.execute(insert(aliases).values(adapter_id=adapter_id, alias=alias, generation_id=row_id))
    if canary_id is not None:
        values = {"adapter_id": adapter_id, "alias": alias, "generation_id": canary_id, "percent": target.percent}
        await connection.execute(insert(canaries).values(values))
    await _note(connection, adapter_id, alias, target, now)
    return row_id


async def remove_alias(connection: AsyncConnection, adapter_id: int, alias: str, now: float) -> None:
    await _unpoint(connection, adapter_id, alias)
    await _note(connection, adapter_id, alias, None, now)


async def release(connection: AsyncConnection, adapter_id: int, chosen: ColumnElement[bool], now: float) -> None:
    """Take the generations that `chosen` selects out of every alias of the adapter."""
    rows = select(generations.c.id).where(chosen)
    held = select(aliases.c.alias).where(aliases.c.adapter_id == adapter_id, aliases.c.generation_id.in_(rows))
    for alias in (await connection.execute(held)).scalars().all():
        await remove_alias(connection, adapter_id, alias, now)
    shared = select(canaries.c.alias).where(canaries.c.adapter_id == adapter_id, canaries.c.generation_id.in_(rows))
    for alias in (await connection.execute(shared)).scalars().all():
        current = (await changes_of(connection, adapter_id, alias))[0].target
        assert current is not None  # an alias with a canary points at something
        await point(connection, adapter_id, alias, Target(current.generation), now)


def check_unnamed(generation: Generation) -> None:
    """An alias that somebody made is a promise; "latest" looks after itself."""
    named = [alias for alias in (*generation.aliases, *dict(generation.canary_of)) if alias != LATEST]
    if named:
        raise Precondition(
            f"generation {generation.generation} of adapter {quote(generation.adapter.name)} is still named by "
            f"{', '.join(named)}; move or remove the alias first"
        )


async def repair_latest(connection: AsyncConnection, adapter_id: int, now: float) -> None:
    """When "latest" was removed with its generation, it falls back to the newest one left."""
    if await latest_of(connection, adapter_id) is not None:
        return
    newest = select(generations.c.generation).where(generations.c.adapter_id == adapter_id, LIVE)
    number = (await connection.execute(newest.order_by(generations.c.generation.desc()).limit(1))).scalar_one_or_none()
    if number is not None:
        await point(connection, adapter_id, LATEST, Target(number), now)


async def changes_of(connection: AsyncConnection, adapter_id: int, alias: str) -> tuple[AliasChange, ...]:
    """Newest first; the first is what the alias points at now."""
    query = select(alias_changes).where(_of(adapter_id, alias)).order_by(alias_changes.c.id.desc()).limit(HISTORY)
    return tuple(
        AliasChange(Target(row.generation, row.canary, row.percent) if row.generation else None, row.changed_at)
        for row in await connection.execute(query)
    )


async def _row(connection: AsyncConnection, adapter_id: int, number: int) -> int:
    row_id = await find_row(connection, adapter_id, LIVE, numbered(number))
    if row_id is None:
        raise NoGeneration(number)
    return row_id


async def _unpoint(connection: AsyncConnection, adapter_id: int, alias: str) -> None:
    for table in (canaries, aliases):
        await connection.execute(delete(table).where(table.c.adapter_id == adapter_id, table.c.alias == alias))


async def _note(connection: AsyncConnection, adapter_id: int, alias: str, target: Target | None, now: float) -> None:
    shown = target or Target(0)
    await connection.execute(
        insert(alias_changes).values(
            adapter_id=adapter_id,
            alias=alias,
            generation=shown.generation,
            canary=shown.canary,
            percent=shown.percent,
            changed_at=now,
        )
    )
    oldest = select(alias_changes.c.id).where(_of(adapter_id, alias)).order_by(alias_changes.c.id.desc())
    beyond = oldest.offset(HISTORY).limit(1).scalar_subquery()
    await connection.execute(delete(alias_changes).where(_of(adapter_id, alias), alias_changes.c.id <= beyond))


def _of(adapter_id: int, alias: str) -> ColumnElement[bool]:
    return and_(alias_changes.c.adapter_id == adapter_id, alias_changes.c.alias == alias)
