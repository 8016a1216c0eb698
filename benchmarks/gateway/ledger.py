"""What the usage ledger costs: lines of the journal, rows in SQL, reports over a million of them.

usage: python -m benchmarks.gateway.ledger [--rows 1000000] [--folder DIR]
"""

import argparse
import asyncio
import gc
import json
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from prometheus_client import Counter

from chorus_gateway.db import connect, migrate
from chorus_gateway.engine_client.usage import SubmissionId
from chorus_gateway.ledger.entry import Entry
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.reports import Group, Reports, UsageQuery
from chorus_gateway.ledger.spent import LedgerSpent
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import Admission, Outcome
from chorus_gateway.ledger.writer import Writer
from chorus_gateway.quota.base import Subject, SubjectKind
from chorus_gateway.values import Band, Period, Price, Usage

REQUESTS = 5_000  # of a round
ROUNDS = 5
TENANTS, KEYS, ADAPTERS, DAYS = 200, 2, 5, 30
USED = Usage(100, 50, 20, 130)
PRICE = Price(200_000, 20_000, 600_000)
NEWEST = 1_800_000_000.0


def admission(at: float = NEWEST) -> Admission:
    adapter = "acme/sql"
    return Admission(f"req_{uuid.uuid4().hex}", at, "acme", "k" * 12, "chorus-demo", adapter, 3, Band.DEFAULT, PRICE)


async def journal_and_writer(folder: Path) -> dict[str, float]:
    """Microseconds an entry, the best of some rounds, and rows a second into SQLite."""
    database = connect(f"sqlite+aiosqlite:///{folder}/gateway.db")
    await migrate(database)
    journal = Journal(folder / "journal", "worker")
    ledger = Ledger(journal)
    writer = Writer(ledger, journal, UsageStore(database), Counter("rows", "Rows.", registry=None))
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, micros in (await _round(ledger, writer)).items():
            best[name] = min(best.get(name, micros), micros)
    journal.close()
    await database.close()
    best["rows_per_second"] = round(1e6 / best.pop("write_us"))
    return {name: round(value, 1) for name, value in best.items()}


async def _round(ledger: Ledger, writer: Writer) -> dict[str, float]:
    admissions = [admission() for _ in range(REQUESTS)]
    names = [SubmissionId(f"{each.request_id}-0", 0) for each in admissions]
    entries: list[Entry] = []
    gc.collect()
    found = {"admit_us": _each(lambda: entries.extend(ledger.admit(each) for each in admissions))}

    def send() -> None:
        for entry, name in zip(entries, names, strict=True):
            entry.sent(name, "engine")

    def end() -> None:
        for entry, name in zip(entries, names, strict=True):
            entry.ended(name, USED, lambda _: True)

    def close() -> None:
        for entry in entries:
            entry.close(Outcome.OK, USED)

    found |= {"sent_us": _each(send), "ended_us": _each(end), "close_us": _each(close)}
    began = time.perf_counter()
    assert await writer.write_all()
    return found | {"write_us": (time.perf_counter() - began) / REQUESTS * 1e6}


def _each(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / REQUESTS * 1e6


async def reports(folder: Path, rows: int) -> dict[str, float]:
    """Seconds until all of a report is read, over so many rows."""
    path = folder / "large.db"
    database = connect(f"sqlite+aiosqlite:///{path}")
    await migrate(database)
    _fill(path, rows)
    whole, tenant = Reports(database), f"tenant{TENANTS // 2}"
    day, inside = 86_400.0, NEWEST - 15 * 86_400.0
    queries = {
        "by_tenant": UsageQuery(),
        "by_tenant_key_adapter_day": UsageQuery(by=(Group.TENANT, Group.KEY, Group.ADAPTER, Group.DAY)),
        "one_tenant_by_day": UsageQuery(by=(Group.DAY,), tenant=tenant),
        "one_tenant_an_hour": UsageQuery(by=(Group.KEY,), tenant=tenant, start=inside, end=inside + 3600),
        "all_an_hour": UsageQuery(start=inside, end=inside + 3600),
        "all_half_days": UsageQuery(start=NEWEST - 29.5 * day + 1, end=NEWEST + 1),
    }
    found: dict[str, float] = {}
    for name, query in queries.items():
        began = time.perf_counter()
        groups = sum([len(part) async for part in whole.sums(query)])
        found[f"{name}_s"] = round(time.perf_counter() - began, 3)
        found[f"{name}_groups"] = groups
    journal = Journal(folder / "journal", "reader")
    ledger = Ledger(journal)
    writer = Writer(ledger, journal, UsageStore(database), Counter("rows", "Rows.", registry=None))
    spent = LedgerSpent(database, ledger, writer, lambda: NEWEST)
    began = time.perf_counter()
    await spent.spent(tenant, Subject(SubjectKind.TENANT, tenant), Period.TOTAL)
    found["spent_total_s"] = round(time.perf_counter() - began, 4)
    journal.close()
    await database.close()
    return found


def _fill(path: Path, rows: int) -> None:
    """By SQL: the store's own way would take a minute."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(
            f"""
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows - 1})
            INSERT INTO usage_requests
            SELECT 'req_' || printf('%032x', (i * 2654435761) % 4294967296 + i * 4294967296),
                   {NEWEST} - ({DAYS} * 86400.0) * i / {rows},
                   strftime('%Y-%m-%d', {NEWEST} - ({DAYS} * 86400.0) * i / {rows}, 'unixepoch'),
                   'tenant' || (i * 7919 % {TENANTS}), 'key' || (i % {KEYS}), 'chorus-demo',
                   'owner/adapter' || (i * 31 / 7 % {ADAPTERS}), 1, 2, 'ok', 100, 20, 50, 130, 48, 200000, 20000, 600000
            FROM n
            """
        )
        connection.execute(
            """
            INSERT INTO usage_days
            SELECT day, tenant, key, base, adapter, count(*), sum(prompt), sum(cached), sum(completion), sum(computed),
                   sum(cost)
            FROM usage_requests GROUP BY day, tenant, key, base, adapter
            """
        )
    connection.close()


async def measure(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    return {"journal": await journal_and_writer(folder), "reports": await reports(folder, rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        print(json.dumps(asyncio.run(measure(Path(folder), asked.rows)), indent=2))


if __name__ == "__main__":
    main()
