"""What placing an adapter takes to know of it."""

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import ColumnElement, and_, false, or_, select

from chorus_adapter_store.catalog.aliasing import changes_of
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.rows import LIVE, PLACED, PRESENT, numbered, placed_file
from chorus_adapter_store.catalog.schema import adapters, generations
from chorus_adapter_store.values import AdapterName, PlacedFile, Target

_BATCH = 500  # digests a query


class PlacingCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def files(self, digests: Collection[str]) -> dict[str, PlacedFile]:
        """Of those that requests may use; whatever is left out is retired, deleted or was never there."""
        wanted = sorted(digests)
        found: dict[str, PlacedFile] = {}
        async with self._database.read() as connection:
            for at in range(0, len(wanted), _BATCH):
                batch = generations.c.digest.in_(wanted[at : at + _BATCH])
                for row in await connection.execute(select(*PLACED).where(batch, LIVE).distinct()):
                    file, known = placed_file(row), found.get(row.digest)
                    found[row.digest] = replace(file, models=file.models | known.models) if known else file
        return found

    async def pointed(self, adapter: AdapterName, alias: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The digests that an alias points at now, and those that it pointed at before; without any, it does not."""
        named = and_(adapters.c.tenant == adapter.tenant, adapters.c.name == adapter.name)
        async with self._database.read() as connection:
            adapter_id = (await connection.execute(select(adapters.c.id).where(named))).scalar_one_or_none()
            targets = [] if adapter_id is None else [c.target for c in await changes_of(connection, adapter_id, alias)]
            after = targets[0] if targets else None
            before = next((each for each in targets if each != after), None)
            found = []
            for target in (after, before):
                condition = and_(generations.c.adapter_id == adapter_id, PRESENT, _of(target))
                query = select(generations.c.digest).where(condition).order_by(generations.c.generation)
                found.append(tuple((await connection.execute(query)).scalars()))
        return found[0], found[1]


def _of(target: Target | None) -> ColumnElement[bool]:
    return false() if target is None else or_(numbered(target.generation), numbered(target.canary))
