"""Generations that leave use and come back: each method is one transaction."""

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.aliasing import check_unnamed, release, repair_latest
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.history import note
from chorus_adapter_store.catalog.lookups import by_row, existing_adapter, find_row, locked_row
from chorus_adapter_store.catalog.quotas import check_count, lock_tenant
from chorus_adapter_store.catalog.rows import (
    DELETED,
    LIVE,
    PRESENT,
    numbered,
    read_generations,
    select_generations,
)
from chorus_adapter_store.catalog.schema import generations
from chorus_adapter_store.errors import NotFound, Precondition
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import UNLIMITED, AdapterName, Generation, Quota, State, Transition


class LifecycleCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def retire(self, adapter: AdapterName, number: int, reason: str, now: float) -> Generation:
        """No request resolves to the generation any more. Raises NotFound, Precondition."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            chosen = and_(generations.c.adapter_id == adapter_id, LIVE, numbered(number))
            found = await read_generations(connection, select_generations(chosen))
            if not found:
                raise NotFound(f"adapter {quote(adapter.name)} has no published generation {number}")
            check_unnamed(found[0])
            row_id = (await connection.execute(select(generations.c.id).where(chosen))).scalar_one()
            await release(connection, adapter_id, chosen, now)
            await connection.execute(update(generations).where(chosen).values(retired_at=now, reason=reason))
            await repair_latest(connection, adapter_id, now)
            await note(connection, adapter, Transition(number, State.RETIRED, now, reason))
            return await by_row(connection, row_id)

    async def restore(
        self, adapter: AdapterName, number: int, now: float, quota: Quota = UNLIMITED
    ) -> tuple[Generation, ...]:
        """Brings back a deleted or retired generation, or all deleted ones with 0, and returns them as they are now.
        Raises NotFound, Precondition, QuotaExceeded."""
        async with self._database.write() as connection:
            await lock_tenant(connection, adapter.tenant, quota)
            adapter_id = await locked_row(connection, adapter)
            mine = generations.c.adapter_id == adapter_id
            out = or_(DELETED, generations.c.retired_at.is_not(None))
            chosen = and_(mine, out, numbered(number)) if number else and_(mine, DELETED)
            # Locked: a purge of the same rows has ended, or waits.
            await connection.execute(select(generations.c.id).where(chosen).with_for_update())
            found = await read_generations(connection, select_generations(chosen))
            if not found:
                what = f"deleted or retired generation {number}" if number else "deleted generations"
                raise NotFound(f"adapter {quote(adapter.name)} has no {what}")
            added = await find_row(connection, adapter_id, PRESENT) is None
            numbers = [each.generation for each in found]
            # A deleted one is what it was before; only a retired one is published by this.
            retired = [each.generation for each in found if each.state is State.RETIRED]
            changed = and_(mine, generations.c.generation.in_(retired))
            await connection.execute(update(generations).where(changed).values(retired_at=None))
            changed = and_(mine, generations.c.generation.in_(numbers))
            await connection.execute(update(generations).where(changed).values(deleted_at=None, reason=""))
            await _check_one_base(connection, adapter, adapter_id)
            if added:
                await check_count(connection, adapter.tenant, quota)
            await repair_latest(connection, adapter_id, now)
            in_order = select_generations(changed).order_by(generations.c.generation)
            restored = await read_generations(connection, in_order)
            await note(connection, adapter, *(Transition(each.generation, each.state, now) for each in restored))
            return restored


async def _check_one_base(connection: AsyncConnection, adapter: AdapterName, adapter_id: int) -> None:
    query = select(generations.c.model).where(generations.c.adapter_id == adapter_id, PRESENT).distinct()
    models = sorted((await connection.execute(query)).scalars())
    if len(models) > 1:
        raise Precondition(
            f"adapter {quote(adapter.name)} would be for the bases {' and '.join(map(quote, models))} at once; "
            "delete the newer generations first"
        )
