"""The audit log in the database.

A change is noted as an intent before it is made, and becomes an entry of the log when it was. So nothing is changed
without a trace, whenever the process or the database dies, and what was refused leaves none. Entries are added under a
lock, which makes one chain of all gateways' changes; there is no code that updates or deletes one, and the database
refuses both.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.audit.entry import Change, Entry, compact
from chorus_gateway.audit.verifier import Head, Verdict, Verifier
from chorus_gateway.db import AuditIntentRow, AuditRow, Database
from chorus_gateway.errors import DeadlineExceeded, GatewayError, Internal, Overloaded, Unavailable

PAGE = 1000  # entries that are read at once
FIRST = -(2**62)  # below any number: what was put before entry 1 is read too
LOST_SECONDS = 3600.0  # after which nobody is at work any more on a change that was begun
FIELDS = ("at", "actor", "client", "action", "object", "details")
UNKNOWN = {"outcome": "unknown"}  # the change may have been made or not
# What a handler raises when nothing was changed; of others nobody knows.
DOUBTFUL = (Unavailable, Overloaded, DeadlineExceeded, Internal)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recording:
    """What is known of a change; its maker adds what only its end shows."""

    change: Change
    object: str
    details: dict[str, Any] = field(default_factory=dict)

    def ended(self) -> Change:
        details = {**json.loads(self.change.details), **self.details}
        return replace(self.change, object=self.object, details=compact(details))


class AuditLog:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def recording(self, change: Change) -> AsyncIterator[Recording]:
        """The block makes the change. It is not entered at all if the change could not be noted before, and leaves
        nothing in the log when it ends with an error that says that nothing was changed."""
        intent = uuid.uuid4().hex
        async with self._database.session() as session:
            session.add(AuditIntentRow(id=intent, **_columns(change)))
        recording = Recording(change, change.object)
        try:
            yield recording
        except BaseException as error:
            refused = isinstance(error, GatewayError) and not isinstance(error, DOUBTFUL)
            recording.details |= UNKNOWN
            await asyncio.shield(self._end(intent, None if refused else recording.ended()))
            raise
        await asyncio.shield(self._end(intent, recording.ended()))

    async def entries(self, *, since: int = 1, limit: int = PAGE, actor: str = "") -> tuple[Entry, ...]:
        """From number `since` on, in order."""
        query = select(AuditRow).where(AuditRow.seq >= since).order_by(AuditRow.seq).limit(limit)
        if actor:
            query = query.where(AuditRow.actor == actor)
        async with self._database.session() as session:
            return tuple(_entry(row) for row in await session.scalars(query))

    async def verify(self, known: Head | None = None) -> Verdict:
        """Reads it all."""
        verifier, since = Verifier(known), FIRST
        while True:
            entries = await self.entries(since=since)
            if not verifier.read(entries) or len(entries) < PAGE:
                return verifier.verdict()
            since = entries[-1].seq + 1

    async def unfinished(self) -> int:
        """Changes that were begun and are not in the log: under way, or their gateway was killed. Those enter it, with
        an unknown outcome, by the first change after an hour."""
        async with self._database.session() as session:
            return (await session.scalars(select(func.count()).select_from(AuditIntentRow))).one()

    async def _end(self, intent: str, change: Change | None) -> None:
        try:
            async with self._database.exclusive() as session:
                row = await session.get(AuditIntentRow, intent)
                if row is not None:
                    await session.delete(row)
                lost = await _take_lost(session)
                added = await _add(session, [*lost, *([change] if change else [])])
        except Unavailable:
            # What was changed is changed. The intent stays in the database, and enters the log from there.
            log.error("a change was made and its audit entry could not be written yet", extra={"intent": intent})
            return
        for entry in added:
            log.info("audit", extra={"seq": entry.seq, "hash": entry.hash, "action": entry.change.action})


async def _take_lost(session: AsyncSession) -> list[Change]:
    """Of gateways that died between a change and its end."""
    before = round((time.time() - LOST_SECONDS) * 1000)
    query = select(AuditIntentRow).where(AuditIntentRow.at < before).order_by(AuditIntentRow.at, AuditIntentRow.id)
    lost = []
    for row in (await session.scalars(query)).all():
        change = _change(row)
        lost.append(replace(change, details=compact({**json.loads(change.details), **UNKNOWN})))
        await session.delete(row)
    return lost


async def _add(session: AsyncSession, changes: list[Change]) -> list[Entry]:
    """In an exclusive transaction: two that read the same last entry would fork the chain."""
    last = (await session.scalars(select(AuditRow).order_by(AuditRow.seq.desc()).limit(1))).one_or_none()
    head, added = Head() if last is None else Head(last.seq, last.hash), []
    for change in changes:
        entry = Entry.after(head.seq + 1, head.hash, change)
        session.add(AuditRow(seq=entry.seq, prev_hash=entry.prev_hash, hash=entry.hash, **_columns(change)))
        added.append(entry)
        head = Head(entry.seq, entry.hash)
    return added


def _columns(change: Change) -> dict[str, Any]:
    return {name: getattr(change, name) for name in FIELDS}


def _change(row: AuditRow | AuditIntentRow) -> Change:
    return Change(row.at, row.actor, row.client, row.action, row.object, row.details)


def _entry(row: AuditRow) -> Entry:
    return Entry(row.seq, _change(row), row.prev_hash, row.hash)
