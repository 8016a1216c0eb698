"""The base models that engines have described."""

from dataclasses import asdict

from sqlalchemy import delete, func, insert, select

from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.schema import bases
from chorus_adapter_store.values import BaseSpec


class BaseCatalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, base: BaseSpec, now: float) -> None:
        """From now on `base` is what its name means."""
        async with self._database.write() as connection:
            await connection.execute(delete(bases).where(bases.c.digest == base.digest))
            await connection.execute(
                insert(bases).values(digest=base.digest, name=base.name, spec=asdict(base), seen_at=now)
            )

    async def find(self, name: str) -> BaseSpec | None:
        """The base that this name was last seen to mean."""
        query = select(bases.c.spec).where(bases.c.name == name).order_by(bases.c.seen_at.desc()).limit(1)
        async with self._database.read() as connection:
            spec = (await connection.execute(query)).scalar_one_or_none()
        return None if spec is None else BaseSpec.of(spec)

    async def names(self) -> tuple[str, ...]:
        query = select(bases.c.name).group_by(bases.c.name).order_by(func.max(bases.c.seen_at).desc())
        async with self._database.read() as connection:
            return tuple((await connection.execute(query)).scalars())
