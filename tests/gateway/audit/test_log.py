import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chorus_gateway.audit import AuditLog, Change, Head
from chorus_gateway.audit.entry import GENESIS, chained
from chorus_gateway.audit.log import LOST_SECONDS
from chorus_gateway.db import Database, connect
from chorus_gateway.errors import Conflict, Unavailable
from tests.gateway.conftest import PATIENCE

WRITERS, CHANGES = 4, 8  # gateways at once, and changes that each makes at once


def change(object_: str = "tenants/acme", **details: Any) -> Change:
    return Change(round(time.time() * 1000), "abcdefghijkl", "10.0.0.7", "change_tenant", object_, json.dumps(details))


async def record(log: AuditLog, *changes: Change) -> None:
    for each in changes:
        async with log.recording(each):
            pass


@contextlib.asynccontextmanager
async def other_gateway(database: Database) -> AsyncIterator[AuditLog]:
    """Another process's connections, as far as the database can tell."""
    other = connect(database.engine.url.render_as_string(hide_password=False), PATIENCE)
    yield AuditLog(other)
    await other.close()


async def test_a_change_is_entered_with_what_its_end_showed(any_database: Database) -> None:
    log = AuditLog(any_database)
    async with log.recording(change(weight=2)) as recording:
        assert await log.entries() == ()
        assert await log.unfinished() == 1
        recording.object = "tenants/acme/made"
        recording.details["answer"] = {"id": "é\x00\ud800"}
    [entry] = await log.entries()
    assert (entry.seq, entry.prev_hash) == (1, GENESIS)
    assert (entry.change.actor, entry.change.client, entry.change.action) == (
        "abcdefghijkl",
        "10.0.0.7",
        "change_tenant",
    )
    assert entry.change.object == "tenants/acme/made"
    assert entry.details == {"weight": 2, "answer": {"id": "é\x00\ud800"}}
    assert entry.hash == chained(1, GENESIS, entry.change)
    assert await log.unfinished() == 0
    assert (await log.verify()).ok


async def test_many_gateways_make_one_chain(any_database: Database) -> None:
    async with contextlib.AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(other_gateway(any_database)) for _ in range(WRITERS)]
        changes = [(log, change(f"{i}/{j}")) for i, log in enumerate(logs) for j in range(CHANGES)]
        await asyncio.gather(*(record(log, each) for log, each in changes))
    entries = await AuditLog(any_database).entries()
    assert [entry.seq for entry in entries] == list(range(1, WRITERS * CHANGES + 1))
    assert {entry.change.object for entry in entries} == {each.object for _, each in changes}
    assert len({entry.prev_hash for entry in entries}) == len(entries)
    verdict = await AuditLog(any_database).verify()
    assert (verdict.ok, verdict.entries) == (True, WRITERS * CHANGES)


async def test_what_was_refused_leaves_nothing(any_database: Database) -> None:
    log = AuditLog(any_database)
    with pytest.raises(Conflict):
        async with log.recording(change()):
            raise Conflict("taken")
    assert await log.entries() == ()
    assert await log.unfinished() == 0


@pytest.mark.parametrize("error", [Unavailable("the store is away"), RuntimeError("a bug"), asyncio.CancelledError()])
async def test_what_may_have_been_made_is_entered_as_unknown(database: Database, error: BaseException) -> None:
    log = AuditLog(database)
    with pytest.raises(type(error)):
        async with log.recording(change(weight=2)):
            raise error
    [entry] = await log.entries()
    assert entry.details == {"weight": 2, "outcome": "unknown"}


async def test_no_change_is_made_that_could_not_be_noted(database: Database) -> None:
    await database.engine.dispose()
    log, made = AuditLog(Database(database.engine, timeout=0)), []
    with pytest.raises(Unavailable):
        async with log.recording(change()):
            made.append(1)
    assert made == []


async def test_a_change_whose_gateway_was_killed_enters_with_a_later_one(any_database: Database) -> None:
    log = AuditLog(any_database)
    killed = log.recording(change("tenants/killed"))
    await killed.__aenter__()
    await record(log, change("tenants/soon"))
    assert [entry.change.object for entry in await log.entries()] == ["tenants/soon"]  # it may be under way yet
    assert await log.unfinished() == 1
    long_ago = round((time.time() - LOST_SECONDS - 1) * 1000)
    async with any_database.session() as session:
        await session.execute(text("UPDATE audit_intents SET at = :at"), {"at": long_ago})
    await record(log, change("tenants/later"))
    entries = await log.entries()
    assert [entry.change.object for entry in entries] == ["tenants/soon", "tenants/killed", "tenants/later"]
    assert entries[1].details == {"outcome": "unknown"}
    assert (await log.verify()).ok
    assert await log.unfinished() == 0


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
async def test_the_database_itself_refuses_to_change_the_log(any_database: Database, statement: str) -> None:
    await record(AuditLog(any_database), change())
    with pytest.raises(DBAPIError, match="the audit log is append-only"):
        async with any_database.engine.begin() as connection:
            await connection.execute(text(statement))
    assert (await AuditLog(any_database).verify()).entries == 1


async def tamper(database: Database, statement: str) -> None:
    """As somebody does who owns the database."""
    async with database.engine.begin() as connection:
        for trigger in ("audit_no_update", "audit_no_delete"):
            await connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        await connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", 3, "not that of its content"),
        ("UPDATE audit SET details = '{\"weight\":9}' WHERE seq = 3", 3, "not that of its content"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 1", 1, "not that of its content"),
        ("UPDATE audit SET prev_hash = hash WHERE seq = 4", 4, "does not follow entry 3"),
        ("DELETE FROM audit WHERE seq = 3", 3, "entry 3 is missing"),
        ("DELETE FROM audit WHERE seq <= 2", 1, "entry 1 is missing"),
        ("UPDATE audit SET seq = 9 WHERE seq = 5", 5, "entry 5 is missing"),
        ("INSERT INTO audit SELECT seq - 10, at, actor, client, action, object, details, prev_hash, hash FROM audit",
         -9, "which begins with 1"),
    ],
)  # fmt: skip
async def test_the_verifier_names_the_first_broken_entry(
    database: Database, statement: str, seq: int, reason: str
) -> None:
    log = AuditLog(database)
    await record(log, *(change(f"tenants/{i}") for i in range(5)))
    await tamper(database, statement)
    verdict = await log.verify()
    assert (verdict.ok, verdict.seq) == (False, seq)
    assert reason in (verdict.reason or "")


async def test_a_replaced_entry_with_a_right_hash_breaks_the_one_after_it(database: Database) -> None:
    log = AuditLog(database)
    await record(log, *(change(f"tenants/{i}") for i in range(5)))
    second = (await log.entries())[1]
    forged = chained(2, second.prev_hash, replace(second.change, object="tenants/forged"))
    await tamper(database, f"UPDATE audit SET object = 'tenants/forged', hash = '{forged}' WHERE seq = 2")
    verdict = await log.verify()
    assert verdict.seq == 3
    assert "it does not follow entry 2" in (verdict.reason or "")


async def test_a_cut_off_or_rewritten_end_shows_by_a_head_that_was_kept(database: Database) -> None:
    log = AuditLog(database)
    await record(log, *(change(f"tenants/{i}") for i in range(5)))
    known = (await log.verify()).head
    assert (await log.verify(known)).ok
    await record(log, change("tenants/more"))
    assert (await log.verify(known)).ok
    await tamper(database, "DELETE FROM audit WHERE seq >= 4")
    assert (await log.verify()).ok  # the rest is a good chain
    assert (await log.verify(known)).seq == 4
    await record(log, *(change(f"tenants/rewritten-{i}") for i in range(2)))
    verdict = await log.verify(known)
    assert (verdict.seq, verdict.ok) == (5, False)
    assert "not the one that was known" in (verdict.reason or "")


async def test_an_empty_log_is_good(any_database: Database) -> None:
    verdict = await AuditLog(any_database).verify()
    assert (verdict.ok, verdict.entries, verdict.head) == (True, 0, Head())
