"""Aliases of adapters: each method is one transaction."""

from sqlalchemy import select

from chorus_adapter_store.catalog.aliasing import NoGeneration, changes_of, point, remove_alias
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.lookups import by_row, existing_adapter
from chorus_adapter_store.catalog.schema import adapters, aliases
from chorus_adapter_store.errors import NotFound, Precondition
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import AdapterName, AliasChange, Generation, Target


class AliasCatalog:
    """Every method raises Unavailable when the database is away, NotFound when there is no such adapter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, adapter: AdapterName, alias: str, target: Target, now: float) -> Generation:
        """The target's generation. Raises NotFound when one of its generations is not there."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            try:
                return await by_row(connection, await point(connection, adapter_id, alias, target, now))
            except NoGeneration as error:
                raise NotFound(f"adapter {quote(adapter.name)} has no generation {error.number}") from None

    async def remove(self, adapter: AdapterName, alias: str, now: float) -> Generation:
        """What the alias pointed at. Raises NotFound."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            held = select(aliases.c.generation_id).where(aliases.c.adapter_id == adapter_id, aliases.c.alias == alias)
            row_id = (await connection.execute(held)).scalar_one_or_none()
            if row_id is None:
                raise NotFound(f"adapter {quote(adapter.name)} has no alias {quote(alias)}")
            await remove_alias(connection, adapter_id, alias, now)
            return await by_row(connection, row_id)

    async def rollback(self, adapter: AdapterName, alias: str, now: float) -> Generation:
        """Points the alias at what it pointed at before, which is then its newest change: a second rollback undoes the
        first. Raises NotFound, Precondition."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            target = _before(adapter, alias, await changes_of(connection, adapter_id, alias))
            try:
                return await by_row(connection, await point(connection, adapter_id, alias, target, now))
            except NoGeneration as error:
                raise Precondition(
                    f"alias {quote(alias)} of adapter {quote(adapter.name)} pointed at generation {error.number} "
                    "before, which is retired or deleted; name another generation"
                ) from None

    async def changes(self, adapter: AdapterName, alias: str) -> tuple[AliasChange, ...]:
        """Newest first. Raises NotFound when there never was such an alias."""
        query = select(adapters.c.id).where(adapters.c.tenant == adapter.tenant, adapters.c.name == adapter.name)
        async with self._database.read() as connection:
            adapter_id = (await connection.execute(query)).scalar_one_or_none()
            found = () if adapter_id is None else await changes_of(connection, adapter_id, alias)
        if not found:
            raise NotFound(f"adapter {quote(adapter.name)} has no alias {quote(alias)}")
        return found


def _before(adapter: AdapterName, alias: str, changes: tuple[AliasChange, ...]) -> Target:
    if not changes:
        raise NotFound(f"adapter {quote(adapter.name)} has no alias {quote(alias)}")
    for change in changes:
        if change.target is not None and change.target != changes[0].target:
            return change.target
    raise Precondition(
        f"alias {quote(alias)} of adapter {quote(adapter.name)} pointed at nothing else before; name a generation"
    )
