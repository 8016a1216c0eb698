"""What the quota's counters are rebuilt from."""

from pathlib import Path

import pytest

from chorus_gateway.db import Database
from chorus_gateway.ledger.spent import LedgerSpent
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import Outcome
from chorus_gateway.ledger.writer import Writer
from chorus_gateway.quota.base import Subject, SubjectKind, Used
from chorus_gateway.values import Period, Usage
from tests.gateway.support.ledger import AT, Worker, counter, row

TENANT, KEY, ADAPTER = (
    Subject(SubjectKind.TENANT, "acme"),
    Subject(SubjectKind.KEY, "key1"),
    Subject(SubjectKind.ADAPTER, "acme/sql"),
)
DAYS = 86_400.0


@pytest.fixture
async def spent(database: Database, folder: Path) -> LedgerSpent:
    """Of three requests in SQL, one a day old and one of last month, and one that is not there yet."""
    store, worker = UsageStore(database), Worker(folder)
    used = Usage(10, 4, 6)
    await store.add(
        [
            row("req_now", cost=5, used=used, adapter="acme/sql"),
            row("req_yesterday", cost=50, used=used, at=AT - 1 * DAYS, key="key2"),
            row("req_before", cost=500, used=used, at=AT - 20 * DAYS),
            row("req_other", cost=9999, used=used, tenant="other", adapter="acme/sql"),
        ]
    )
    worker.admit("req_over").close(Outcome.OK, Usage(1, 1))  # costs 400
    worker.admit("req_running")
    worker.admit("req_stranger", tenant="other").close(Outcome.OK, Usage(1, 1))
    return LedgerSpent(database, worker.ledger, Writer(worker.ledger, worker.journal, store, counter()), lambda: AT)


SPENT = [
    (TENANT, Period.DAY, Used(16, 405)),
    (TENANT, Period.MONTH, Used(30, 455)),
    (TENANT, Period.TOTAL, Used(44, 955)),
    (KEY, Period.MONTH, Used(16, 405)),
    (KEY, Period.TOTAL, Used(30, 905)),
    (ADAPTER, Period.TOTAL, Used(14, 5)),
    (Subject(SubjectKind.KEY, "nobody"), Period.TOTAL, Used()),
]


async def test_what_was_spent(spent: LedgerSpent) -> None:
    for subject, period, used in SPENT:
        assert await spent.spent("acme", subject, period) == used, (subject, period)


async def test_a_request_on_its_way_to_sql_counts_once(database: Database, folder: Path) -> None:
    worker = Worker(folder)
    writer = Writer(worker.ledger, worker.journal, UsageStore(database), counter())
    spent = LedgerSpent(database, worker.ledger, writer, lambda: AT)
    for number in range(5):
        worker.admit(f"req_{number}").close(Outcome.OK, Usage(1, 1))
        assert (await spent.spent("acme", TENANT, Period.DAY)).tokens == 2 * (number + 1)
        assert await writer.write_all()
        assert (await spent.spent("acme", TENANT, Period.DAY)).tokens == 2 * (number + 1)
