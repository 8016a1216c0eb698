"""Pins: each method is one transaction. A pin belongs to a name and follows the version that it gives."""

from typing import Any

from sqlalchemy import ColumnElement, Row, String, and_, cast, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.lookups import existing_adapter
from chorus_adapter_store.catalog.rows import LIVE, PLACED, PRESENT, placed_file
from chorus_adapter_store.catalog.schema import adapters, aliases, canaries, generations, pins
from chorus_adapter_store.errors import NotFound
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import AdapterName, Pin, PlacedFile, Tier

_PINS = select(adapters.c.tenant, adapters.c.name, *pins.c).join(adapters, pins.c.adapter_id == adapters.c.id)
_PRESENT = select(generations.c.id).where(generations.c.adapter_id == pins.c.adapter_id, PRESENT).correlate(pins)


class PinCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, pin: Pin) -> None:
        """Replaces the name's pin. Raises NotFound."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, pin.adapter)
            await remove_pin(connection, adapter_id)
            values = {"version": pin.version, "tier": pin.tier.value, "engines": pin.engines}
            await connection.execute(insert(pins).values(adapter_id=adapter_id, **values))

    async def remove(self, adapter: AdapterName) -> None:
        """Raises NotFound when the adapter is not there or not pinned."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            if not await remove_pin(connection, adapter_id):
                raise NotFound(f"adapter {quote(adapter.name)} is not pinned")

    async def all(self, tenant: str = "") -> tuple[tuple[Pin, tuple[PlacedFile, ...]], ...]:
        """A tenant's, or with an empty tenant everyone's, by owner and name; with each the generations that it means
        now: none when its version is gone, two when it is an alias with a canary."""
        chosen = and_(_PRESENT.exists(), *((adapters.c.tenant == tenant,) if tenant else ()))
        async with self._database.read() as connection:
            rows = (await connection.execute(_PINS.where(chosen).order_by(adapters.c.tenant, adapters.c.name))).all()
            meant = await _meant(connection, chosen)
        return tuple((_pin(row), tuple(meant.get(row.adapter_id, ()))) for row in rows)


async def remove_pin(connection: AsyncConnection, adapter_id: int) -> bool:
    """False when there was none."""
    removed = await connection.execute(delete(pins).where(pins.c.adapter_id == adapter_id))
    return bool(removed.rowcount)


async def _meant(connection: AsyncConnection, chosen: ColumnElement[bool]) -> dict[int, list[PlacedFile]]:
    named = [
        select(table.c.generation_id).where(table.c.adapter_id == pins.c.adapter_id, table.c.alias == pins.c.version)
        for table in (aliases, canaries)
    ]
    wanted = or_(
        cast(generations.c.generation, String) == pins.c.version,
        *(generations.c.id.in_(each.correlate(pins)) for each in named),
    )
    query = (
        select(pins.c.adapter_id, *PLACED)
        .join(adapters, pins.c.adapter_id == adapters.c.id)
        .join(generations, generations.c.adapter_id == pins.c.adapter_id)
        .where(chosen, LIVE, wanted)
        .order_by(generations.c.generation)
    )
    found: dict[int, list[PlacedFile]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.adapter_id, []).append(placed_file(row))
    return found


def _pin(row: Row[Any]) -> Pin:
    return Pin(AdapterName(row.tenant, row.name), row.version, Tier(row.tier), row.engines)
