"""Adapters, generations and aliases: each method is one transaction."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import ColumnElement, Connection, Integer, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.aliasing import check_unnamed, latest_of, point, release, repair_latest
from chorus_adapter_store.catalog.database import Database
from chorus_adapter_store.catalog.history import note
from chorus_adapter_store.catalog.lookups import by_row, existing_adapter, find_row, locked_adapter
from chorus_adapter_store.catalog.pins import remove_pin
from chorus_adapter_store.catalog.quotas import check_count, check_draft, lock_tenant
from chorus_adapter_store.catalog.rows import (
    LIVE,
    PRESENT,
    find_generations,
    in_range,
    numbered,
    pointed_at_by,
    read_generations,
    select_generations,
    stored_files,
)
from chorus_adapter_store.catalog.schema import NAME, adapters, generations
from chorus_adapter_store.catalog.sharing import make_private, usable_by
from chorus_adapter_store.errors import InvalidArgument, NotFound
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import (
    LATEST,
    AdapterName,
    Draft,
    Generation,
    Position,
    Resolution,
    State,
    StoredFile,
    Target,
    Transition,
)

_LARGEST_DIGITS = 10  # of a generation's number
# Every request for an adapter asks one of these. One query whoever asks, so that a missing adapter and another tenant's
# take the same time.
_USABLE = and_(
    adapters.c.tenant == bindparam("owner", type_=NAME),
    adapters.c.name == bindparam("name", type_=NAME),
    usable_by(bindparam("tenant", type_=NAME)),
)
_BY_ALIAS = select_generations(_USABLE, LIVE, pointed_at_by(bindparam("alias", type_=NAME)))
_BY_NUMBER = select_generations(_USABLE, LIVE, generations.c.generation == bindparam("number", type_=Integer))


class Catalog:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, draft: Draft, now: float, keep: Callable[[], Awaitable[None]]) -> tuple[Generation, bool]:
        """Make `draft` the latest generation of its name; False when these bytes were that already.

        `keep` puts the blobs in place; it runs inside the transaction, after which nothing can collect them.
        Raises InvalidArgument when the name belongs to an adapter for another base, QuotaExceeded, and whatever `keep`
        raises.
        """
        async with self._database.write() as connection:
            await lock_tenant(connection, draft.adapter.tenant, draft.quota)
            adapter_id = await locked_adapter(connection, draft.adapter)
            latest = await latest_of(connection, adapter_id)
            await _check_base(connection, adapter_id, draft)
            same = latest is not None and latest.digest == draft.digest
            if not same:
                await check_draft(connection, draft)
            await keep()
            if latest is not None and same:
                return latest, False
            added = await find_row(connection, adapter_id, PRESENT) is None
            if added:
                # Whatever held for those that had this name before.
                await make_private(connection, adapter_id)
                await remove_pin(connection, adapter_id)
            number = await _next_number(connection, adapter_id)
            row_id = await _insert(connection, adapter_id, number, draft, now)
            if added:
                await check_count(connection, draft.adapter.tenant, draft.quota)
            await point(connection, adapter_id, LATEST, Target(number), now)
            passed = [Transition(number, state, at) for state, at in (*draft.stages, (State.PUBLISHED, now))]
            await note(connection, draft.adapter, *passed)
            return await by_row(connection, row_id), True

    async def resolve(self, tenant: str, owner: str, name: str, model: str, version: str) -> Resolution:
        """Raises NotFound, which tells anything about an adapter to its owner alone."""
        named: dict[str, object] = {"tenant": tenant, "owner": owner, "name": name}
        if version.isascii() and version.isdigit():
            number = in_range(int(version)) if len(version) <= _LARGEST_DIGITS else 0
            query, values = _BY_NUMBER, named | {"number": number}
        else:
            query, values = _BY_ALIAS, named | {"alias": version or LATEST}

        def look(connection: Connection) -> Resolution:
            found = find_generations(connection, query, values)
            if found and model in ("", found[0].model):
                return _resolution([each.seen_by(tenant) for each in found], version or LATEST)
            if found and owner == tenant:
                raise NotFound(f"adapter {quote(name)} is for base {quote(found[0].model)}, not {quote(model)}")
            if owner == tenant:
                _explain_version(connection, AdapterName(owner, name), version or LATEST)
            raise NotFound(f"adapter {quote(name if owner == tenant else f'{owner}/{name}')} does not exist")

        return await self._database.ask(look)

    async def page(
        self, tenant: str, limit: int, after: Position | None, *, usable: bool = False, deleted: bool = False
    ) -> tuple[Generation, ...]:
        """Generations by tenant and name, newest first: a tenant's own, or everybody's for an empty tenant, with
        `deleted` those too that can be restored; or, with `usable`, all that the tenant's requests may use."""
        conditions = [] if deleted else [LIVE if usable else PRESENT]
        if tenant:
            conditions.append(usable_by(tenant) if usable else adapters.c.tenant == tenant)
        if after is not None:
            conditions.append(_beyond(after))
        query = select_generations(*conditions).order_by(
            adapters.c.tenant, adapters.c.name, generations.c.generation.desc()
        )
        async with self._database.read() as connection:
            found = await read_generations(connection, query.limit(limit))
        return tuple(each.seen_by(tenant) for each in found) if usable else found

    async def delete(self, adapter: AdapterName, number: int, now: float, reason: str = "") -> tuple[Generation, ...]:
        """Delete a generation, or all with 0, and return them. Raises NotFound, Precondition."""
        async with self._database.write() as connection:
            adapter_id = await existing_adapter(connection, adapter)
            chosen = and_(generations.c.adapter_id == adapter_id, PRESENT)
            if number:
                chosen = and_(chosen, numbered(number))
            deleted = await read_generations(connection, select_generations(chosen))
            if not deleted:
                raise NotFound(f"adapter {quote(adapter.name)} has no generation {number}")
            if number:
                check_unnamed(deleted[0])
            await release(connection, adapter_id, chosen, now)
            await connection.execute(update(generations).where(chosen).values(deleted_at=now, reason=reason))
            await repair_latest(connection, adapter_id, now)
            gone = [Transition(each.generation, State.DELETED, now, reason) for each in deleted]
            await note(connection, adapter, *gone)
            return deleted

    async def get(self, adapter: AdapterName, number: int) -> Generation:
        """Whatever its state. Raises NotFound."""
        named = and_(adapters.c.tenant == adapter.tenant, adapters.c.name == adapter.name, numbered(number))
        async with self._database.read() as connection:
            found = await read_generations(connection, select_generations(named))
        if not found:
            raise NotFound(f"adapter {quote(adapter.name)} has no generation {number}")
        return found[0]

    async def files(self, digest: str) -> tuple[StoredFile, StoredFile]:
        """The files of a digest, also while it is only kept for requests that began with it. Raises NotFound."""
        query = select(generations).where(generations.c.digest == digest).limit(1)
        row = await self._database.ask(lambda connection: connection.execute(query).first())
        if row is None:
            raise NotFound(f"no adapter has the digest {quote(digest)}")
        return stored_files(row)

    async def count(self) -> int:
        """Adapters that have a generation."""
        async with self._database.read() as connection:
            query = select(func.count(generations.c.adapter_id.distinct())).where(PRESENT)
            return (await connection.execute(query)).scalar_one()


async def _check_base(connection: AsyncConnection, adapter_id: int, draft: Draft) -> None:
    query = select(generations.c.model).where(generations.c.adapter_id == adapter_id, PRESENT).limit(1)
    model = (await connection.execute(query)).scalar_one_or_none()
    if model is not None and model != draft.base.name:
        raise InvalidArgument(
            "model",
            f"adapter {quote(draft.adapter.name)} is for base {quote(model)}, not {quote(draft.base.name)}; "
            "use another name, or delete it first",
        )


async def _next_number(connection: AsyncConnection, adapter_id: int) -> int:
    taken = await connection.execute(
        update(adapters)
        .where(adapters.c.id == adapter_id)
        .values(next_generation=adapters.c.next_generation + 1)
        .returning(adapters.c.next_generation)
    )
    return int(taken.scalar_one()) - 1


async def _insert(connection: AsyncConnection, adapter_id: int, number: int, draft: Draft, now: float) -> int:
    inserted = await connection.execute(
        insert(generations)
        .values(
            adapter_id=adapter_id,
            generation=number,
            model=draft.base.name,
            base_digest=draft.base.digest,
            digest=draft.digest,
            rank=draft.facts.rank,
            modules=list(draft.facts.modules),
            config_sha256=draft.config.sha256,
            config_size=draft.config.size,
            weights_sha256=draft.weights.sha256,
            weights_size=draft.weights.size,
            created_at=now,
        )
        .returning(generations.c.id)
    )
    return int(inserted.scalar_one())


def _explain_version(connection: Connection, adapter: AdapterName, version: str) -> None:
    """Tell its owner what the adapter has instead of `version`. Raises NotFound, unless it has nothing."""
    mine = and_(adapters.c.tenant == adapter.tenant, adapters.c.name == adapter.name)
    if version.isascii() and version.isdigit():
        retired = select_generations(mine, PRESENT, numbered(int(version[:_LARGEST_DIGITS])))
        for each in find_generations(connection, retired):
            why = f": {quote(each.reason)}" if each.reason else ""
            raise NotFound(f"generation {each.generation} of adapter {quote(adapter.name)} is retired{why}")
    newest = select_generations(mine, LIVE).order_by(generations.c.generation.desc()).limit(5)
    found = find_generations(connection, newest)
    if found:
        known = [each for one in found for each in (str(one.generation), *one.aliases)]
        raise NotFound(f"adapter {quote(adapter.name)} has no version {quote(version)}; it has {', '.join(known)}")


def _resolution(found: Sequence[Generation], version: str) -> Resolution:
    canary = next((each for each in found if version in dict(each.canary_of)), None)
    if canary is None or len(found) == 1:
        return Resolution(found[0])
    (main,) = (each for each in found if each is not canary)
    return Resolution(main, canary, dict(canary.canary_of)[version])


def _beyond(after: Position) -> ColumnElement[bool]:
    same_tenant = adapters.c.tenant == after.tenant
    same_name = and_(same_tenant, adapters.c.name == after.name)
    return or_(
        adapters.c.tenant > after.tenant,
        and_(same_tenant, adapters.c.name > after.name),
        and_(same_name, generations.c.generation < after.generation),
    )
