"""Sums of usage, for whoever pays or is paid."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_gateway.db import Database, usage_days, usage_requests
from chorus_gateway.db.database import FAILURES
from chorus_gateway.db.usage import DAY_SUMS
from chorus_gateway.errors import Overloaded, Unavailable
from chorus_gateway.ledger.values import day_of

DAY_SECONDS = 86_400
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
    """Whole days are summed already; anything else is summed from the requests."""
    whole = all(bound is None or bound % DAY_SECONDS == 0 for bound in (query.start, query.end))
    table = usage_days if whole else usage_requests
    groups = [table.c["base" if group is Group.MODEL else group.value] for group in query.by]
    requests = func.sum(table.c.requests) if whole else func.count()
    sums = [requests, *(func.sum(table.c[name]) for name in DAY_SUMS[1:])]
    selected = select(*groups, *sums).where(*_period(query, table, whole=whole), *_holders(query, table))
    return selected.group_by(*groups).order_by(*groups)


def _period(query: UsageQuery, table: Table, *, whole: bool) -> Sequence[ColumnElement[bool]]:
    column = table.c.day if whole else table.c.at
    clauses: list[ColumnElement[bool]] = []
    if query.start is not None:
        clauses.append(column >= (day_of(query.start) if whole else query.start))
    if query.end is not None:
        clauses.append(column < (day_of(query.end) if whole else query.end))
    return clauses


def _holders(query: UsageQuery, table: Table) -> Sequence[ColumnElement[bool]]:
    wanted = {"tenant": query.tenant, "key": query.key, "adapter": query.adapter, "base": query.model}
    return [table.c[name] == value for name, value in wanted.items() if value]


def _to_sum(row: Any, groups: int) -> UsageSum:
    return UsageSum(tuple(row[:groups]), *(int(value or 0) for value in row[groups:]))
