"""Answers to a batch's lines: each line has one, whoever brings it and how often."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.batches.leases import Lease, change
from chorus_gateway.db import Database, batch_lines, batches, files
from chorus_gateway.files import FileStore
from chorus_gateway.files.upload import CHUNK
from chorus_gateway.files.values import State
from chorus_gateway.values import Usage

READ_AT_ONCE = 64  # lines of a file that is written
REMOVED_AT_ONCE = 1000
REFERENCE = len("file-") + 32  # bytes; an answer has more

NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Result:
    number: int
    ok: bool
    data: bytes  # its line in the file, with the line's end; or where it is put aside
    usage: Usage = NOTHING

    @property
    def large(self) -> bool:
        """Too much of it for a transaction of many."""
        return len(self.data) > CHUNK


class Swept(Exception):
    """What was put aside waited for so long that it was taken for left; its line is asked anew."""


class Results:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files
        dialect = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._add = dialect.insert(batch_lines).on_conflict_do_nothing().returning(batch_lines.c.line)

    async def put_aside(self, tenant: str, result: Result) -> Result:
        """The same with its data in a file of its own, which nobody sees: an answer of many megabytes takes longer than
        a transaction may. It is swept unless it is added soon."""
        upload = self._files.output(tenant)
        await upload.write(result.data)
        await upload.flush()
        return replace(result, data=upload.id.encode())

    async def add(self, lease: Lease, results: Sequence[Result], *, until: float) -> tuple[int, int]:
        """In one transaction with the batch's counts, its usage and its lease, so that it may be tried again by whoever
        does not know whether it arrived. Answers how many were new in the output and in the errors. LeaseLost or
        Swept, and then nothing of it counts."""
        rows = [
            {"batch_id": lease.batch_id, "line": each.number, "ok": int(each.ok), "data": each.data} for each in results
        ]
        async with self._database.session() as session:
            arrived = set(await session.scalars(self._add, rows))
            new = [each for each in results if each.number in arrived]
            completed = sum(each.ok for each in new)
            failed = len(new) - completed
            await _keep(session, [each.data for each in new])
            grown = {
                "completed": batches.c.completed + completed,
                "failed": batches.c.failed + failed,
                "prompt_tokens": batches.c.prompt_tokens + sum(each.usage.prompt_tokens for each in new),
                "cached_tokens": batches.c.cached_tokens + sum(each.usage.cached_tokens for each in new),
                "completion_tokens": batches.c.completion_tokens + sum(each.usage.completion_tokens for each in new),
                "lease_until": until,
            }
            await change(session, lease, grown)
        return completed, failed

    async def answered(self, batch_id: str) -> set[int]:
        """The numbers of lines that have their answer."""
        mine = select(batch_lines.c.line).where(batch_lines.c.batch_id == batch_id)
        async with self._database.session() as session:
            return set(await session.scalars(mine))

    async def read(self, batch_id: str, *, ok: bool) -> AsyncIterator[bytes]:
        """In the input's order."""
        last = 0
        while True:
            some = (
                select(batch_lines.c.line, batch_lines.c.data)
                .where(batch_lines.c.batch_id == batch_id, batch_lines.c.ok == int(ok), batch_lines.c.line > last)
                .order_by(batch_lines.c.line)
                .limit(READ_AT_ONCE)
            )
            async with self._database.session() as session:
                rows = (await session.execute(some)).all()
            if not rows:
                return
            for row in rows:
                if len(row.data) == REFERENCE:
                    async for piece in self._files.chunks(await self._files.stored(row.data.decode())):
                        yield piece
                else:
                    yield row.data
            last = rows[-1].line

    async def remove(self, batch_id: str) -> None:
        """Of a batch that is over: its files have them."""
        mine = batch_lines.c.batch_id == batch_id
        async with self._database.session() as session:
            last = await session.scalar(select(func.max(batch_lines.c.line)).where(mine)) or 0
        for until in range(REMOVED_AT_ONCE, last + REMOVED_AT_ONCE, REMOVED_AT_ONCE):
            await self._remove(mine & (batch_lines.c.line <= until))

    async def _remove(self, which: ColumnElement[bool]) -> None:
        aside = select(batch_lines.c.data).where(which, func.length(batch_lines.c.data) == REFERENCE)
        async with self._database.session() as session:
            ids = [each.decode() for each in await session.scalars(aside)]
            await session.execute(update(files).where(files.c.id.in_(ids)).values(state=State.DELETED.value))
            await session.execute(delete(batch_lines).where(which))


async def _keep(session: AsyncSession, data: Sequence[bytes]) -> None:
    """The files of those that were put aside, for as long as the batch needs them."""
    aside = [each.decode() for each in data if len(each) == REFERENCE]
    if not aside:
        return
    written = (files.c.id.in_(aside), files.c.state == State.WRITING.value)
    kept = update(files).where(*written).values(state=State.PART.value).returning(files.c.id)
    if len((await session.scalars(kept)).all()) != len(aside):
        raise Swept
