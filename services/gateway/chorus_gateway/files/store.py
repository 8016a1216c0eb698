"""Tenants' files: each sees its own alone, and another's reads like none."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select, update

from chorus_gateway.db import Database, batches, file_chunks, files
from chorus_gateway.db.batches import UNDER_WAY
from chorus_gateway.errors import Conflict, InvalidRequest, NotFound
from chorus_gateway.files.upload import Upload
from chorus_gateway.files.values import File, FileLimits, Purpose, State

_SHOWN = tuple(files.c[name] for name in ("id", "tenant", "filename", "purpose", "bytes", "created_at", "expires_at"))


_ID = re.compile("file-[0-9a-f]{32}")  # what has another form is not asked for: databases refuse some characters


@dataclass(frozen=True, slots=True)
class Page:
    files: tuple[File, ...]
    has_more: bool


class FileStore:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database, limits: FileLimits) -> None:
        self.limits = limits
        self._database = database

    def upload(self, tenant: str) -> Upload:
        return Upload(self._database, tenant, self.limits)

    def output(self, tenant: str) -> Upload:
        """Of a batch: no limit refuses it."""
        return Upload(self._database, tenant, None)

    async def get(self, tenant: str, file_id: str) -> File:
        """NotFound for another tenant's too."""
        check_form(file_id)
        async with self._database.session() as session:
            found = (await session.execute(select(*_SHOWN).where(_seen(tenant), files.c.id == file_id))).one_or_none()
        if found is None:
            raise no_such_file(file_id)
        return _file(found)

    async def stored(self, file_id: str) -> File:
        """Whoever's, also one past its time: for the batch that reads it, which keeps it."""
        async with self._database.session() as session:
            found = (await session.execute(select(*_SHOWN).where(files.c.id == file_id))).one_or_none()
        if found is None:
            raise no_such_file(file_id)
        return _file(found)

    async def page(self, tenant: str, *, purpose: str | None, after: str | None, limit: int, newest: bool) -> Page:
        """In the order of making. InvalidRequest for an `after` that is no file of the tenant's."""
        if purpose is not None and purpose not in list(Purpose):
            return Page((), has_more=False)
        query = select(*_SHOWN).where(_seen(tenant))
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        if after is not None:
            query = query.where(_follows(await self._cursor(tenant, after), newest=newest))
        columns = (files.c.created_at, files.c.id)
        query = query.order_by(*(column.desc() if newest else column.asc() for column in columns)).limit(limit + 1)
        async with self._database.session() as session:
            rows = [_file(row) for row in await session.execute(query)]
        return Page(tuple(rows[:limit]), len(rows) > limit)

    async def delete(self, tenant: str, file_id: str) -> None:
        """At once for whoever asks; its bytes go a moment later. Conflict while a batch reads it."""
        check_form(file_id)
        async with self._database.exclusive() as session:
            reads = and_(batches.c.input_file_id == file_id, batches.c.status.in_(UNDER_WAY))
            reader = await session.scalar(select(batches.c.id).where(reads, batches.c.tenant == tenant).limit(1))
            if reader is not None:
                raise Conflict(
                    f"The file '{file_id}' is the input of batch '{reader}', which is not over: wait for its end or "
                    "cancel it first.",
                    param="file_id",
                )
            gone = update(files).where(_seen(tenant), files.c.id == file_id).values(state=State.DELETED.value)
            deleted = (await session.execute(gone.returning(files.c.id))).one_or_none()
        if deleted is None:
            raise no_such_file(file_id)

    async def chunks(self, file: File) -> AsyncIterator[bytes]:
        """Its bytes, in pieces."""
        sent, seq = 0, 0
        while sent < file.bytes:
            data = await self.chunk(file, seq)
            yield data
            sent, seq = sent + len(data), seq + 1

    async def chunk(self, file: File, seq: int) -> bytes:
        """NotFound when it was deleted meanwhile."""
        piece = select(file_chunks.c.data).where(file_chunks.c.file_id == file.id, file_chunks.c.seq == seq)
        async with self._database.session() as session:
            data: bytes | None = await session.scalar(piece)
        if data is None:
            raise no_such_file(file.id)
        return data

    async def _cursor(self, tenant: str, after: str) -> File:
        try:
            return await self.get(tenant, after)
        except NotFound as error:
            raise InvalidRequest(
                f"after: there is no file '{after[:64]}'; give the id of a file of the page before.", param="after"
            ) from error


def no_such_file(file_id: str, param: str = "file_id") -> NotFound:
    return NotFound(f"No such File object: '{file_id[:64]}'; list your files to see what there is.", param=param)


def check_form(file_id: str, param: str = "file_id") -> None:
    """NotFound for what can be no file's id."""
    if not _ID.fullmatch(file_id):
        raise no_such_file(file_id, param)


def _seen(tenant: str) -> ColumnElement[bool]:
    alive = or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())
    return and_(files.c.tenant == tenant, files.c.state == State.READY.value, alive)


def _follows(cursor: File, *, newest: bool) -> ColumnElement[bool]:
    made, name = files.c.created_at, files.c.id
    if newest:
        return or_(made < cursor.created_at, and_(made == cursor.created_at, name < cursor.id))
    return or_(made > cursor.created_at, and_(made == cursor.created_at, name > cursor.id))


def _file(row: Row[Any]) -> File:
    return File(**row._mapping)
