"""What is no longer needed: generations after their grace period, then blobs that nothing names."""

from collections.abc import Awaitable, Callable

from sqlalchemy import delete, select, union, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.history import note
from chorus_adapter_store.catalog.schema import adapters, generations
from chorus_adapter_store.values import AdapterName, State, Transition

_BATCH = 500  # digests a query


class Retention:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def purge(self, before: float, now: float) -> int:
        """Remove generations deleted before this time (seconds since 1970); returns how many."""
        async with self._database.write() as connection:
            over = select(generations.c.adapter_id, generations.c.generation, adapters.c.tenant, adapters.c.name)
            over = over.join(adapters).where(generations.c.deleted_at < before)
            # Locked: whoever restores one of them meanwhile finds it gone, or keeps it.
            rows = (await connection.execute(over.with_for_update(of=generations))).all()
            for row in rows:
                mine = (generations.c.adapter_id == row.adapter_id, generations.c.generation == row.generation)
                await connection.execute(delete(generations).where(*mine))
                gone = Transition(row.generation, State.GONE, now)
                await note(connection, AdapterName(row.tenant, row.name), gone)
            return len(rows)

    async def collect(self, blobs: frozenset[str], remove: Callable[[str], Awaitable[None]]) -> int:
        """Call `remove` for each of `blobs` that no generation names; returns how many.

        No publication runs meanwhile, so none can name a blob between the question and the removal.
        """
        unnamed = [digest for batch in _batches(sorted(blobs)) for digest in await self._unnamed(batch)]
        removed = 0
        for batch in _batches(unnamed):
            async with self._database.write(removes_blobs=True) as connection:
                named = await _named(connection, batch)
                for digest in batch:
                    if digest not in named:
                        await remove(digest)
                        removed += 1
        return removed

    async def named(self, after: str, limit: int) -> tuple[tuple[str, int], ...]:
        """Blobs that generations name, as (SHA-256, size in bytes), from the one beyond `after` in their order."""
        pairs = (
            (generations.c.config_sha256, generations.c.config_size),
            (
                generations.c.weights_sha256,
                generations.c.weights_size,
            ),
        )
        query = union(*(select(digest.label("digest"), size).where(digest > after) for digest, size in pairs))
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by("digest").limit(limit))
            return tuple((row[0], row[1]) for row in found)

    async def names(self, sha256: str) -> bool:
        async with self._database.read() as connection:
            return bool(await _named(connection, [sha256]))

    async def _unnamed(self, digests: list[str]) -> list[str]:
        """A first guess without the lock, so that a sweep which finds nothing stops nobody."""
        async with self._database.read() as connection:
            named = await _named(connection, digests)
        return [digest for digest in digests if digest not in named]


async def _named(connection: AsyncConnection, digests: list[str]) -> set[str]:
    columns = (generations.c.config_sha256, generations.c.weights_sha256)
    found = await connection.execute(union_all(*(select(column).where(column.in_(digests)) for column in columns)))
    return {row[0] for row in found}


def _batches(digests: list[str]) -> list[list[str]]:
    return [digests[at : at + _BATCH] for at in range(0, len(digests), _BATCH)]
