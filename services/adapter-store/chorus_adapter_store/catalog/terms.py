"""The placer's terms: numbers that only grow, whatever becomes of Redis, the stores and their order."""

from sqlalchemy import case, update

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.schema import placer_terms


class TermCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, above: int = 0) -> int:
        """A term higher than all before it, and than `above`: what engines have seen, should the database come from a
        backup."""
        last = placer_terms.c.term
        grown = case((last < above, above), else_=last) + 1
        async with self._database.write() as connection:
            taken = await connection.execute(update(placer_terms).values(term=grown).returning(last))
            return int(taken.scalar_one())
