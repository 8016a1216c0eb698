"""Answers to a batch's lines: each line has one, whoever brings it and how often."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from chorus_gateway.batches.leases import Lease, change
from chorus_gateway.db import Database, batch_lines, batches
from chorus_gateway.values import Usage

READ_AT_ONCE = 64  # lines of a file that is written
REMOVED_AT_ONCE = 1000


NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Result:
    number: int
    ok: bool
    data: bytes  # its line in the file, with the line's end
    usage: Usage = NOTHING


class Results:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._add = dialect.insert(batch_lines).on_conflict_do_nothing().returning(batch_lines.c.line)

    async def add(self, lease: Lease, results: Sequence[Result], *, until: float) -> tuple[int, int]:
        """In one transaction with the batch's counts, its usage and its lease, so that it may be tried again by whoever
        does not know whether it arrived. Answers how many were new in the output and in the errors. LeaseLost, and then
        nothing of it counts."""
        rows = [
            {"batch_id": lease.batch_id, "line": each.number, "ok": int(each.ok), "data": each.data} for each in results
        ]
        async with self._database.session() as session:
            arrived = set(await session.scalars(self._add, rows))
            new = [each for each in results if each.number in arrived]
            completed = sum(each.ok for each in new)
            failed = len(new) - completed
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
            yield b"".join(row.data for row in rows)
            last = rows[-1].line

    async def remove(self, batch_id: str) -> None:
        """Of a batch that is over: its files have them."""
        mine = batch_lines.c.batch_id == batch_id
        async with self._database.session() as session:
            last = await session.scalar(select(func.max(batch_lines.c.line)).where(mine)) or 0
        for until in range(REMOVED_AT_ONCE, last + REMOVED_AT_ONCE, REMOVED_AT_ONCE):
            async with self._database.session() as session:
                await session.execute(delete(batch_lines).where(mine, batch_lines.c.line <= until))
