"""From the journal to SQL."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from chorus_gateway.db import Database, connect, usage_requests
from chorus_gateway.ledger import writer as writing
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.writer import Writer, prune
from tests.gateway.support.gateway import eventually
from tests.gateway.support.ledger import MemoryStore, Worker, counted, counter


def writer(worker: Worker, store: MemoryStore) -> Writer:
    return Writer(worker.ledger, worker.journal, store, counter())


async def test_what_is_settled_is_written_once_and_leaves_the_journal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH", 2)
    worker, store, total = Worker(folder, file_bytes=1), MemoryStore(), counter()
    for number in range(5):
        worker.served(f"req_{number}")
    running = worker.admit("req_open")
    task = asyncio.create_task(Writer(worker.ledger, worker.journal, store, total).run())
    await eventually(lambda: len(store.rows) == 5)
    await eventually(lambda: [entry.request_id for entry in worker.ledger.entries] == ["req_open"])
    task.cancel()
    assert running.tally.closing is None
    assert counted(total) == 5
    worker.journal.release(running.file)
    worker.journal.close()
    assert not os.listdir(folder)


@pytest.mark.parametrize("commits", [False, True])
async def test_while_the_database_is_away_nothing_is_lost(folder: Path, commits: bool) -> None:
    """`commits`: it did what it was asked and its answer was lost."""
    worker, store = Worker(folder), MemoryStore(fails=2, commits=commits)
    served = [worker.served(f"req_{number}") for number in range(3)]
    write = writer(worker, store)
    assert not await write.write_all()
    assert worker.ledger.unwritten == 3
    assert not await write.write_all()
    assert await write.write_all()
    assert list(store.rows.values()) == [entry.tally.row() for entry in served]
    assert list(worker.ledger.entries) == []


async def test_a_writer_that_is_cancelled_in_the_middle_leaves_what_it_took(folder: Path) -> None:
    worker = Worker(folder)
    worker.served("req_a")

    class Slow(MemoryStore):
        async def add(self, rows: object) -> int:
            await asyncio.sleep(60)
            raise AssertionError

    task = asyncio.create_task(writer(worker, Slow()).write_all())
    await eventually(lambda: worker.ledger.unwritten == 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert worker.ledger.unwritten == 1


async def test_old_rows_are_deleted_until_none_is_left() -> None:
    pruned: list[float] = []
    left = [3, 2, 0]

    class Pruning(MemoryStore):
        async def prune(self, before: float) -> int:
            pruned.append(before)
            return left.pop(0)

    async def sleep(_: float) -> None:
        if not left:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await prune(Pruning(), 2, clock=lambda: 1_000_000.0, sleep=sleep)
    assert pruned == [1_000_000.0 - 2 * 86_400] * 3


async def test_a_database_that_another_writer_holds_gets_the_rows_afterwards(
    folder: Path, database: Database, tmp_path: Path
) -> None:
    worker = Worker(folder)
    impatient = connect(database.engine.url.render_as_string(hide_password=False), 0.2)
    write = Writer(worker.ledger, worker.journal, UsageStore(impatient), counter())
    worker.served("req_a")
    holder = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert not await write.write_all()
    worker.served("req_b")
    holder.execute("COMMIT")
    holder.close()
    assert await write.write_all()
    await impatient.close()
    async with database.session() as session:
        ids = (await session.execute(select(usage_requests.c.request_id))).scalars().all()
    assert sorted(ids) == ["req_a", "req_b"]
