"""Sums of usage, for whoever pays or is paid."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_gateway.db import Database, usage_days, usage_requests
from chorus_gateway.db.database import FAILURES
from chorus_gateway.db.usage import DAY_SUMS
from chorus_gateway.errors import Overloaded, Unavailable
from chorus_gateway.ledger.values import DAY_SECONDS, day_of

AT_ONCE = 4  # reports that are read, each with a connection of its own
FIRST_SECONDS = 60.0  # that the database may take until the first sums
PART = 1000  # sums that are in memory at a time


class Group(StrEnum):
    TENANT = "tenant"
    KEY = "key"
    ADAPTER = "adapter"
    MODEL = "model"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Of requests that were admitted from `start` on and before `end`, in seconds since 1970. None and "" are all."""

    by: tuple[Group, ...] = (Group.TENANT,)
    start: float | None = None
    end: float | None = None
    tenant: str = ""
    key: str = ""
    adapter: str = ""  # "owner/name"
    model: str = ""  # the base's name


@dataclass(frozen=True, slots=True)
class UsageSum:
    group: tuple[str, ...]  # as the query's `by`
    requests: int
    prompt: int
    cached: int
    completion: int
    computed: int
    cost: int  # billionths


class Reports:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = asyncio.Semaphore(AT_ONCE)

    async def sums(self, query: UsageQuery) -> AsyncIterator[list[UsageSum]]:
        """In parts, ordered by their groups. Unavailable when the database is away, Overloaded when too many read."""
        if self._places.locked():
            raise Overloaded(f"{AT_ONCE} usage reports are being read: try again in a second.", retry_after=1.0)
        async with self._places, self._connection() as connection:
            async with asyncio.timeout(FIRST_SECONDS):
                result = await connection.stream(statement(query))
            async for part in result.partitions(PART):
                yield [_to_sum(row, len(query.by)) for row in part]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.engine.connect() as connection:
                yield connection
        except FAILURES as error:
            raise Unavailable("The gateway's database does not answer; try again in a moment.") from error


def statement(query: UsageQuery) -> Select[Any]:
    """Whole days are summed already; what is left at the ends is summed from the requests."""
    parts = union_all(*_parts(query)).subquery()
    groups = [parts.c[_column(group)] for group in query.by]
    sums = [func.sum(parts.c[name]) for name in DAY_SUMS]
    return select(*groups, *sums).group_by(*groups).order_by(*groups)


def _parts(query: UsageQuery) -> Iterator[Select[Any]]:
    start, end = query.start, query.end
    first = None if start is None else math.ceil(start / DAY_SECONDS) * DAY_SECONDS
    last = None if end is None else math.floor(end / DAY_SECONDS) * DAY_SECONDS
    if first is not None and last is not None and first > last:  # within one day
        yield _of_requests(query, start, end)
        return
    yield _of_days(query, first, last)
    if start is not None and start != first:
        yield _of_requests(query, start, first)
    if end is not None and end != last:
        yield _of_requests(query, last, end)


def _of_days(query: UsageQuery, first: float | None, last: float | None) -> Select[Any]:
    day = usage_days.c.day
    clauses = _holders(query, usage_days)
    clauses += [] if first is None else [day >= day_of(first)]
    clauses += [] if last is None else [day < day_of(last)]
    return _summed(query, usage_days, func.sum(usage_days.c.requests), clauses)


def _of_requests(query: UsageQuery, start: float | None, end: float | None) -> Select[Any]:
    at = usage_requests.c.at
    clauses = _holders(query, usage_requests)
    clauses += [] if start is None else [at >= start]
    clauses += [] if end is None else [at < end]
    return _summed(query, usage_requests, func.count(), clauses)


def _summed(
    query: UsageQuery, table: Table, requests: ColumnElement[int], clauses: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    groups = [table.c[_column(group)] for group in query.by]
    sums = [requests.label("requests"), *(func.sum(table.c[name]).label(name) for name in DAY_SUMS[1:])]
    return select(*groups, *sums).where(*clauses).group_by(*groups)


def _holders(query: UsageQuery, table: Table) -> list[ColumnElement[bool]]:
    wanted = {"tenant": query.tenant, "key": query.key, "adapter": query.adapter, "base": query.model}
    return [table.c[name] == value for name, value in wanted.items() if value]


def _column(group: Group) -> str:
    return "base" if group is Group.MODEL else group.value


def _to_sum(row: Any, groups: int) -> UsageSum:
    return UsageSum(tuple(row[:groups]), *(int(value or 0) for value in row[groups:]))
