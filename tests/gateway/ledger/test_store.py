"""Usage in SQL, on each kind of database."""

import asyncio
from typing import Any

from sqlalchemy import select

from chorus_gateway.db import Database, usage_days, usage_requests
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.values import Band, Usage
from tests.gateway.support.ledger import AT, DAY, row


async def rows(database: Database, table: Any = usage_requests) -> list[dict[str, Any]]:
    async with database.session() as session:
        found = (await session.execute(select(table).order_by(*table.primary_key.columns))).mappings().all()
    return [dict(each) for each in found]


async def test_a_row_has_all_that_is_known(any_database: Database) -> None:
    store = UsageStore(any_database)
    used = Usage(2**40, 4, 6)
    assert await store.add([row("req_a", used=used, adapter="acme/sql", generation=3, band=Band.FLEX, cost=2**53)]) == 1
    names = {"request_id": "req_a", "tenant": "acme", "key": "key1", "base": "chorus-demo", "adapter": "acme/sql"}
    when = {"at": AT, "day": DAY, "generation": 3, "band": 3, "outcome": "ok"}
    tokens = {"prompt": 2**40, "cached": 6, "completion": 4, "computed": 20}
    money = {"cost": 2**53, "price_input": 100_000, "price_cached": 10_000, "price_output": 300_000}
    assert await rows(any_database) == [names | when | tokens | money]


async def test_a_request_counts_once_however_often_it_is_brought(any_database: Database) -> None:
    store = UsageStore(any_database)
    assert await store.add([row("req_a"), row("req_b"), row("req_a")]) == 2
    assert await store.add([row("req_b", cost=99), row("req_c")]) == 1
    assert await store.add([]) == 0
    found = await rows(any_database)
    assert [(each["request_id"], each["cost"]) for each in found] == [("req_a", 5), ("req_b", 5), ("req_c", 5)]
    (day,) = await rows(any_database, usage_days)
    assert (day["requests"], day["prompt"], day["completion"], day["computed"], day["cost"]) == (3, 30, 12, 60, 15)


async def test_two_gateways_that_bring_the_same_at_once(any_database: Database) -> None:
    store = UsageStore(any_database)
    numbers = (range(60), range(59, -1, -1), range(30, 90), range(89, 29, -1))
    batches = [[row(f"req_{number}", tenant=f"t{number % 3}") for number in some] for some in numbers]
    assert sum(await asyncio.gather(*map(store.add, batches))) == 90
    assert len(await rows(any_database)) == 90
    assert [each["requests"] for each in await rows(any_database, usage_days)] == [30, 30, 30]


async def test_old_rows_go_and_their_sums_stay(any_database: Database) -> None:
    store = UsageStore(any_database)
    await store.add([row(f"req_{number:02}", at=AT + number) for number in range(10)])
    assert await store.prune(AT + 7) == 7
    assert await store.prune(AT + 7) == 0
    assert [each["request_id"] for each in await rows(any_database)] == ["req_07", "req_08", "req_09"]
    assert [each["requests"] for each in await rows(any_database, usage_days)] == [10]
