"""One gateway process works on a batch at a time: whoever holds its lease."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
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
        self._claims = 0
        self._last: dict[str, int] = {}  # the claim that was a tenant's last one

    async def claim(self, most: int) -> list[Lease]:
        """Batches that nobody works on: of the tenants first that have the fewest in work, among these of the one
        first that was given none for longest; of a tenant the oldest first."""
        now = time.time()
        free = select(batches.c.id, batches.c.tenant, batches.c.lease_epoch).where(batches.c.lease_until < now)
        async with self._database.session() as session:
            waiting = list(await session.execute(free.order_by(batches.c.created_at, batches.c.id)))
            working = await _working(session, now) if waiting else Counter[str]()
        leases: list[Lease] = []
        while waiting and len(leases) < most:
            chosen = min(waiting, key=lambda row: (working[row.tenant], self._last.get(row.tenant, 0)))
            waiting.remove(chosen)
            lease = Lease(chosen.id, chosen.lease_epoch + 1)
            if await self._take(lease):
                working[chosen.tenant] += 1
                self._claims += 1
                self._last[chosen.tenant] = self._claims
                leases.append(lease)
        return leases

    async def crowding(self, held: Sequence[str]) -> str | None:
        """Of the batches `held`, the first of the tenant with the most in work, if one waits whose tenant has none, or
        fewer by two at least: by one, the two would change places for ever."""
        now = time.time()
        free = select(batches.c.tenant).where(batches.c.lease_until < now).distinct()
        mine = select(batches.c.id, batches.c.tenant).where(batches.c.id.in_(held))
        async with self._database.session() as session:
            waiting = set(await session.scalars(free))
            if not waiting:
                return None
            working = await _working(session, now)
            tenants = {row.id: row.tenant for row in await session.execute(mine)}
        fewest = min(working[tenant] for tenant in waiting)
        first = max(held, key=lambda batch: working[tenants[batch]])
        return first if working[tenants[first]] > (fewest + 1 if fewest else 0) else None

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


async def _working(session: AsyncSession, now: float) -> Counter[str]:
    """How many batches of each tenant are in work."""
    held = select(batches.c.tenant, func.count().label("held")).where(batches.c.lease_until >= now)
    return Counter({row.tenant: row.held for row in await session.execute(held.group_by(batches.c.tenant))})


async def change(session: AsyncSession, lease: Lease, values: Mapping[str, Any]) -> None:
    """In the caller's transaction, which is undone with LeaseLost."""
    if await _changed(session, lease.held, values) != 1:
        raise LeaseLost(lease.batch_id)


async def _changed(session: AsyncSession, which: ColumnElement[bool], values: Mapping[str, Any]) -> int:
    result = await session.execute(update(batches).where(which).values(dict(values)))
    assert isinstance(result, CursorResult)
    return result.rowcount
