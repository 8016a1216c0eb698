"""A file while it is written: nobody sees it before its last byte is durable."""

import time
import uuid

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.db import Database, file_chunks, files
from chorus_gateway.errors import BodyTooLarge, QuotaExceeded
from chorus_gateway.files.values import File, FileLimits, State

CHUNK = 512 << 10  # bytes of a row, so that each transaction is short
CHECKED = 16  # chunks of one file between two looks at all of a tenant's


class Upload:
    """`write` as often as is wanted, then `finish` or `abandon`. What is left in the middle the sweeper takes."""

    def __init__(self, database: Database, tenant: str, limits: FileLimits | None) -> None:
        """Without `limits` it may be of any size: what a batch came to is never refused."""
        self.id = f"file-{uuid.uuid4().hex}"
        self.bytes = 0
        self._database = database
        self._tenant = tenant
        self._limits = limits
        self._created_at = time.time()
        self._buffer = bytearray()
        self._chunks = 0

    async def write(self, data: bytes) -> None:
        """BodyTooLarge or QuotaExceeded when it is over a limit, Unavailable while the database is away."""
        self.bytes += len(data)
        if self._limits is not None and self.bytes > self._limits.file:
            raise BodyTooLarge(
                f"file: it may have at most {self._limits.file} bytes and has more; send it in several files.",
                param="file",
            )
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            await self._append(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]

    async def finish(self, filename: str, purpose: str, seconds: float | None) -> File:
        """`seconds` is how long it is kept; None is until it is deleted."""
        await self.flush()
        async with self._database.session() as session:
            if self._chunks > 1:
                await self._check(session)
            return await self.publish(session, filename, purpose, seconds)

    async def flush(self) -> None:
        if self._buffer or not self._chunks:
            await self._append(bytes(self._buffer))
            self._buffer.clear()

    async def publish(self, session: AsyncSession, filename: str, purpose: str, seconds: float | None) -> File:
        """After `flush`, in the caller's transaction."""
        expires_at = None if seconds is None else self._created_at + seconds
        values = {"filename": filename, "purpose": purpose, "expires_at": expires_at, "state": State.READY.value}
        await session.execute(update(files).where(files.c.id == self.id).values(values))
        return File(self.id, self._tenant, filename, purpose, self.bytes, self._created_at, expires_at)

    async def abandon(self) -> None:
        if self._chunks:
            async with self._database.session() as session:
                gone = {"state": State.DELETED.value}
                await session.execute(update(files).where(files.c.id == self.id).values(gone))

    async def _append(self, data: bytes) -> None:
        async with self._database.session() as session:
            if self._chunks == 0:
                await session.execute(insert(files).values(self._row()))
            await session.execute(insert(file_chunks).values(file_id=self.id, seq=self._chunks, data=data))
            grown = {"bytes": files.c.bytes + len(data), "touched_at": time.time()}
            await session.execute(update(files).where(files.c.id == self.id).values(grown))
            if self._chunks % CHECKED == 0:
                await self._check(session)
        self._chunks += 1

    async def _check(self, session: AsyncSession) -> None:
        if self._limits is None:
            return
        mine = (files.c.tenant == self._tenant) & files.c.state.in_((State.WRITING, State.READY))
        all_mine = select(func.count(), func.coalesce(func.sum(files.c.bytes), 0)).where(mine)
        count, total = map(int, (await session.execute(all_mine)).one())
        if count > self._limits.count:
            raise QuotaExceeded(
                f"Your organization may have at most {self._limits.count} files and would have {count}; delete some "
                "that are not needed any more.",
                code="insufficient_quota",
            )
        if total > self._limits.tenant:
            raise QuotaExceeded(
                f"Your organization's files may have at most {self._limits.tenant} bytes together and would have "
                f"{total}; delete some that are not needed any more.",
                code="insufficient_quota",
            )

    def _row(self) -> dict[str, object]:
        return {
            "id": self.id,
            "tenant": self._tenant,
            "filename": "",
            "purpose": "",
            "state": State.WRITING.value,
            "bytes": 0,
            "created_at": self._created_at,
            "expires_at": None,
            "touched_at": self._created_at,
        }
