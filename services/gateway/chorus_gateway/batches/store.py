"""Tenants' batches: each sees its own alone, and another's reads like none."""

import re
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.batches.rows import to_batch, to_row
from chorus_gateway.batches.values import OVER, WINDOW_SECONDS, Batch, NewBatch, Status
from chorus_gateway.db import Database, batches, files
from chorus_gateway.db.batches import UNDER_WAY
from chorus_gateway.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from chorus_gateway.files.store import check_form, no_such_file
from chorus_gateway.files.values import Purpose, State
from chorus_gateway.values import Usage

_ID = re.compile("batch_[0-9a-f]{32}")
MOST_OPEN = 100  # batches of a tenant that are not over


@dataclass(frozen=True, slots=True)
class Page:
    batches: tuple[Batch, ...]  # newest first
    has_more: bool


class BatchStore:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, key: str, wanted: NewBatch) -> Batch:
        """NotFound without the input, InvalidRequest when it is no batch's, QuotaExceeded over MOST_OPEN."""
        check_form(wanted.input_file_id, "input_file_id")
        now = time.time()
        name = f"batch_{uuid.uuid4().hex}"
        batch = Batch(name, tenant, key, wanted, Status.VALIDATING, now, now + WINDOW_SECONDS, usage=Usage(0, 0))
        async with self._database.exclusive() as session:
            await _check_input(session, tenant, wanted.input_file_id)
            await _check_open(session, tenant)
            await session.execute(insert(batches).values(to_row(batch)))
        return batch

    async def get(self, tenant: str, batch_id: str) -> Batch:
        """NotFound for another tenant's too."""
        async with self._database.session() as session:
            return await _get(session, tenant, batch_id)

    async def page(self, tenant: str, *, after: str | None, limit: int) -> Page:
        """InvalidRequest for an `after` that is no batch of the tenant's."""
        query = select(batches).where(batches.c.tenant == tenant)
        async with self._database.session() as session:
            if after is not None:
                try:
                    last = await _get(session, tenant, after)
                except NotFound as error:
                    raise InvalidRequest(
                        f"after: there is no batch '{after[:64]}'; give the id of a batch of the page before.",
                        param="after",
                    ) from error
                same = and_(batches.c.created_at == last.created_at, batches.c.id < last.id)
                query = query.where(or_(batches.c.created_at < last.created_at, same))
            query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc()).limit(limit + 1)
            found = [to_batch(row) for row in await session.execute(query)]
        return Page(tuple(found[:limit]), len(found) > limit)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Its owner hears of it within a second, and ends what runs. Conflict where it is over, or all but."""
        async with self._database.exclusive() as session:
            batch = await _get(session, tenant, batch_id)
            if batch.status in (Status.CANCELLING, Status.CANCELLED):
                return batch
            if batch.status in OVER or batch.status is Status.FINALIZING:
                raise Conflict(
                    f"The batch '{batch_id}' is {batch.status} and cannot be cancelled any more.", param="batch_id"
                )
            changes = {"status": Status.CANCELLING.value, "cancelling_at": time.time()}
            await session.execute(update(batches).where(batches.c.id == batch_id).values(changes))
            return await _get(session, tenant, batch_id)


async def _get(session: AsyncSession, tenant: str, batch_id: str) -> Batch:
    mine = select(batches).where(batches.c.tenant == tenant, batches.c.id == batch_id)
    found = (await session.execute(mine)).one_or_none() if _ID.fullmatch(batch_id) else None
    if found is None:
        raise NotFound(
            f"No batch found with id '{batch_id[:64]}'; list your batches to see what there is.", param="batch_id"
        )
    return to_batch(found)


async def _check_input(session: AsyncSession, tenant: str, file_id: str) -> None:
    mine = and_(files.c.id == file_id, files.c.tenant == tenant, files.c.state == State.READY.value)
    found = (await session.execute(select(files.c.purpose, files.c.expires_at).where(mine))).one_or_none()
    if found is None or (found.expires_at or float("inf")) <= time.time():
        raise no_such_file(file_id, "input_file_id")
    if found.purpose != Purpose.BATCH:
        raise InvalidRequest(
            f"input_file_id: the file '{file_id}' has the purpose '{found.purpose}'; a batch reads one of purpose "
            "'batch'.",
            param="input_file_id",
        )


async def _check_open(session: AsyncSession, tenant: str) -> None:
    mine = and_(batches.c.tenant == tenant, batches.c.status.in_(UNDER_WAY))
    if int(await session.scalar(select(func.count()).select_from(batches).where(mine)) or 0) >= MOST_OPEN:
        raise QuotaExceeded(
            f"Your organization may have at most {MOST_OPEN} batches that are not over, and has as many; wait for one "
            "to end, or cancel one.",
            code="insufficient_quota",
        )
