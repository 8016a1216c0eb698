"""Sums of usage, by whatever is asked."""

import asyncio
from contextlib import aclosing

import pytest

from chorus_gateway.db import Database, connect
from chorus_gateway.errors import Overloaded, Unavailable
from chorus_gateway.ledger import reports as reporting
from chorus_gateway.ledger.reports import Group, Reports, UsageQuery, UsageSum
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.values import Usage
from tests.gateway.support.ledger import AT, DAY, row

MIDNIGHT = AT - AT % 86_400
NEXT_DAY = "2027-01-16"


async def filled(database: Database) -> Reports:
    used = Usage(10, 4, 6)
    await UsageStore(database).add(
        [
            row("req_1", used=used),
            row("req_2", used=used, adapter="acme/sql", at=AT + 60),
            row("req_3", used=used, adapter="acme/sql", key="key2", at=AT + 86_400),
            row("req_4", used=used, tenant="other", key="key3", base="large"),
        ]
    )
    return Reports(database)


@pytest.fixture
async def reports(database: Database) -> Reports:
    return await filled(database)


async def sums(reports: Reports, query: UsageQuery) -> dict[tuple[str, ...], tuple[int, int]]:
    """Requests and cost by group."""
    found = [each async for part in reports.sums(query) for each in part]
    assert [each.group for each in found] == sorted(each.group for each in found)
    return {each.group: (each.requests, each.cost) for each in found}


async def test_every_sum_by_tenant(reports: Reports) -> None:
    assert [each async for part in reports.sums(UsageQuery()) for each in part] == [
        UsageSum(("acme",), requests=3, prompt=30, cached=18, completion=12, computed=60, cost=15),
        UsageSum(("other",), requests=1, prompt=10, cached=6, completion=4, computed=20, cost=5),
    ]


QUERIES: list[tuple[UsageQuery, dict[tuple[str, ...], tuple[int, int]]]] = [
    (UsageQuery(by=(Group.DAY,)), {(DAY,): (3, 15), (NEXT_DAY,): (1, 5)}),
    (
        UsageQuery(by=(Group.ADAPTER, Group.KEY), tenant="acme"),
        {("", "key1"): (1, 5), ("acme/sql", "key1"): (1, 5), ("acme/sql", "key2"): (1, 5)},
    ),
    (UsageQuery(by=(Group.MODEL,)), {("chorus-demo",): (3, 15), ("large",): (1, 5)}),
    (UsageQuery(key="key1", adapter="acme/sql", model="chorus-demo"), {("acme",): (1, 5)}),
    (UsageQuery(start=MIDNIGHT + 86_400), {("acme",): (1, 5)}),
    (UsageQuery(end=MIDNIGHT + 86_400), {("acme",): (2, 10), ("other",): (1, 5)}),
    (UsageQuery(start=AT, end=AT + 60), {("acme",): (1, 5), ("other",): (1, 5)}),
    (UsageQuery(by=(Group.DAY, Group.TENANT), start=AT + 1), {(DAY, "acme"): (1, 5), (NEXT_DAY, "acme"): (1, 5)}),
    (UsageQuery(start=AT - 1, end=AT + 86_401), {("acme",): (3, 15), ("other",): (1, 5)}),
    (UsageQuery(start=AT + 1, end=AT + 2 * 86_400), {("acme",): (2, 10)}),
    (UsageQuery(start=AT + 61, end=AT + 86_400), {}),
    (UsageQuery(start=AT + 60, end=AT + 60), {}),
    (UsageQuery(start=AT + 86_400, end=AT), {}),
    (UsageQuery(tenant="nobody"), {}),
]


async def test_whatever_is_asked(any_database: Database) -> None:
    reports = await filled(any_database)
    for query, expected in QUERIES:
        assert await sums(reports, query) == expected, query


async def test_many_sums_come_in_parts(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "PART", 1)
    assert [len(part) async for part in reports.sums(UsageQuery())] == [1, 1]


async def test_only_so_many_are_read_at_once(reports: Reports) -> None:
    async with asyncio.timeout(60):
        slow = [reports.sums(UsageQuery()) for _ in range(reporting.AT_ONCE)]
        for each in slow:
            await anext(each)
        with pytest.raises(Overloaded):
            await anext(reports.sums(UsageQuery()))
        for each in slow:
            async with aclosing(each):  # type: ignore[type-var]  # a generator
                pass
        assert await sums(reports, UsageQuery())


async def test_a_database_that_is_away() -> None:
    away = connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        await anext(Reports(away).sums(UsageQuery()))
    await away.close()
