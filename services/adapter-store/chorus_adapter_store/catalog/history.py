"""What became of uploads and generations."""

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.schema import transitions
from chorus_adapter_store.values import AdapterName, State, Transition

_SHOWN = 100
_LONGEST_REASON = 1000  # characters


class HistoryCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refused(self, adapter: AdapterName, reason: str, now: float) -> None:
        """Note an upload that made no generation."""
        async with self._database.write() as connection:
            await note(connection, adapter, Transition(0, State.REFUSED, now, reason))

    async def of(self, adapter: AdapterName) -> tuple[Transition, ...]:
        """Newest first."""
        mine = (transitions.c.tenant == adapter.tenant, transitions.c.name == adapter.name)
        query = select(transitions).where(*mine).order_by(transitions.c.id.desc()).limit(_SHOWN)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return tuple(Transition(row.generation, State(row.state), row.at, row.reason) for row in rows)

    async def forget(self, before: float) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(transitions).where(transitions.c.at < before))


async def note(connection: AsyncConnection, adapter: AdapterName, *passed: Transition) -> None:
    """In the order in which they happened."""
    rows = [
        {
            "tenant": adapter.tenant,
            "name": adapter.name,
            "generation": each.generation,
            "state": each.state.value,
            "reason": each.reason[:_LONGEST_REASON],
            "at": each.at,
        }
        for each in passed
    ]
    await connection.execute(insert(transitions), rows)
