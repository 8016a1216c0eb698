"""Which adapters were used lately, for engines that start with nothing."""

from collections.abc import Iterable

from sqlalchemy import delete, insert, select

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.schema import adapter_usage
from chorus_adapter_store.values import Usage


class UsageCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> tuple[Usage, ...]:
        query = select(adapter_usage).order_by(adapter_usage.c.base_digest, adapter_usage.c.digest)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return tuple(Usage(row.base_digest, row.digest, row.score, row.used_at) for row in rows)

    async def replace(self, base_digest: str, used: Iterable[Usage]) -> None:
        """All that is kept of a base."""
        rows = [
            {"base_digest": base_digest, "digest": each.digest, "score": each.score, "used_at": each.used_at}
            for each in used
        ]
        async with self._database.write() as connection:
            await connection.execute(delete(adapter_usage).where(adapter_usage.c.base_digest == base_digest))
            if rows:
                await connection.execute(insert(adapter_usage), rows)
