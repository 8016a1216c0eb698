"""Takes the bytes of files that nobody sees: deleted, past their time, or left in the middle of their writing."""

import asyncio
import logging
import time

from sqlalchemy import and_, delete, func, or_, select, update

from chorus_gateway.db import Database, batches, file_chunks, files
from chorus_gateway.db.batches import UNDER_WAY
from chorus_gateway.errors import Unavailable
from chorus_gateway.files.values import State

INTERVAL = 30.0  # seconds between two looks
LEFT = 600.0  # seconds without a new chunk, until whoever wrote a file has gone
CHUNKS_AT_ONCE = 16  # rows of a transaction, a few MiB

log = logging.getLogger(__name__)


class Sweeper:
    """Any number of gateways may sweep at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.sweep()
            except Unavailable as error:
                log.warning("files wait to be swept", extra={"reason": error.message})

    async def sweep(self) -> int:
        """Answers how many files are gone."""
        for file_id in await self._lost():
            await self._set_deleted(file_id)
        async with self._database.session() as session:
            gone = list(await session.scalars(select(files.c.id).where(files.c.state == State.DELETED.value)))
        for file_id in gone:
            await self._remove(file_id)
        return len(gone)

    async def _lost(self) -> list[str]:
        now = time.time()
        read = select(batches.c.input_file_id).where(batches.c.status.in_(UNDER_WAY))
        expired = and_(files.c.expires_at < now, files.c.id.not_in(read))
        left = and_(files.c.state == State.WRITING.value, files.c.touched_at < now - LEFT)
        lost = select(files.c.id).where(files.c.state != State.DELETED.value, or_(expired, left))
        async with self._database.session() as session:
            return list(await session.scalars(lost))

    async def _set_deleted(self, file_id: str) -> None:
        async with self._database.session() as session:
            await session.execute(update(files).where(files.c.id == file_id).values(state=State.DELETED.value))

    async def _remove(self, file_id: str) -> None:
        """The last chunks first, and the row at the end: whatever interrupts it, the rest is found again."""
        mine = file_chunks.c.file_id == file_id
        async with self._database.session() as session:
            last = await session.scalar(select(func.max(file_chunks.c.seq)).where(mine))
        for until in range(last if last is not None else -1, -1, -CHUNKS_AT_ONCE):
            async with self._database.session() as session:
                some = file_chunks.c.seq > until - CHUNKS_AT_ONCE
                await session.execute(delete(file_chunks).where(mine, some))
        async with self._database.session() as session:
            await session.execute(delete(files).where(files.c.id == file_id))
