"""One gateway process works on a batch at a time: whoever holds its lease."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.batches.rows import to_batch
from chorus_gateway.batches.values import Batch
from chorus_gateway.db import Database, batches


class LeaseLost(Exception):
    """Another process works on the batch now, and what this one has to say of it counts no more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The epoch is what holds: clocks of machines may differ, and then two work on a batch for a moment, but only the
    later one is heard."""

    batch_id: str
    epoch: int

    @property
    def held(self) -> ColumnElement[bool]:
        return and_(batches.c.id == self.batch_id, batches.c.lease_epoch == self.epoch)


class Leases:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database, *, seconds: float) -> None:
        """`seconds` after which a batch is somebody else's whose owner says nothing."""
        self.seconds = seconds
        self._database = database

    async def claim(self, most: int) -> list[Lease]:
        """Batches that nobody works on: of the tenants first that have the fewest in work, the oldest first."""
        now = time.time()
        free = select(batches.c.id, batches.c.tenant, batches.c.lease_epoch).where(batches.c.lease_until < now)
        taken = (
            select(batches.c.tenant, func.count().label("held"))
            .where(batches.c.lease_until >= now)
            .group_by(batches.c.tenant)
        )
        async with self._database.session() as session:
            waiting = list(await session.execute(free.order_by(batches.c.created_at, batches.c.id)))
            working = Counter({row.tenant: row.held for row in await session.execute(taken)} if waiting else {})
        leases: list[Lease] = []
        while waiting and len(leases) < most:
            chosen = min(waiting, key=lambda row: working[row.tenant])
            waiting.remove(chosen)
            lease = Lease(chosen.id, chosen.lease_epoch + 1)
            if await self._take(lease):
                working[chosen.tenant] += 1
                leases.append(lease)
        return leases

    async def renew(self, lease: Lease) -> Batch:
        """The batch as it is now. LeaseLost."""
        async with self._database.session() as session:
            unfinished = and_(lease.held, batches.c.lease_until.is_not(None))
            if await _changed(session, unfinished, {"lease_until": time.time() + self.seconds}) != 1:
                raise LeaseLost(lease.batch_id)
            return to_batch((await session.execute(select(batches).where(lease.held))).one())

    async def release(self, lease: Lease) -> None:
        """Anybody may have it at once."""
        async with self._database.session() as session:
            unfinished = and_(lease.held, batches.c.lease_until.is_not(None))
            await session.execute(update(batches).where(unfinished).values(lease_until=0.0))

    async def _take(self, lease: Lease) -> bool:
        now = time.time()
        unchanged = and_(
            batches.c.id == lease.batch_id, batches.c.lease_epoch == lease.epoch - 1, batches.c.lease_until < now
        )
        values = {"lease_epoch": lease.epoch, "lease_until": now + self.seconds}
        async with self._database.session() as session:
            return await _changed(session, unchanged, values) == 1


async def change(session: AsyncSession, lease: Lease, values: Mapping[str, Any]) -> None:
    """In the caller's transaction, which is undone with LeaseLost."""
    if await _changed(session, lease.held, values) != 1:
        raise LeaseLost(lease.batch_id)


async def _changed(session: AsyncSession, which: ColumnElement[bool], values: Mapping[str, Any]) -> int:
    result = await session.execute(update(batches).where(which).values(dict(values)))
    assert isinstance(result, CursorResult)
    return result.rowcount
