"""What placing an adapter takes to know of it."""

from collections.abc import Collection

from sqlalchemy import select

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.rows import LIVE
from chorus_adapter_store.catalog.schema import generations
from chorus_adapter_store.values import PlacedFile

_BATCH = 500  # digests a query


class PlacingCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def files(self, digests: Collection[str]) -> dict[str, PlacedFile]:
        """Of those that requests may use; whatever is left out is retired, deleted or was never there."""
        columns = (generations.c.digest, generations.c.model, generations.c.rank, generations.c.weights_size)
        wanted = sorted(digests)
        found: dict[str, PlacedFile] = {}
        async with self._database.read() as connection:
            for at in range(0, len(wanted), _BATCH):
                batch = generations.c.digest.in_(wanted[at : at + _BATCH])
                for row in await connection.execute(select(*columns).where(batch, LIVE).distinct()):
                    known = found.get(row.digest)
                    models = frozenset({row.model}) | (known.models if known else frozenset())
                    found[row.digest] = PlacedFile(row.digest, models, row.rank, row.weights_size)
        return found
