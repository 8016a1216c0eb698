"""Usage in SQL: a row for each request, and sums by day that are kept when rows are not."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, select

from chorus_gateway.db import Database, usage_days, usage_requests
from chorus_gateway.db.usage import DAY_KEYS, DAY_SUMS
from chorus_gateway.ledger.bulk import insert_rows, parameter
from chorus_gateway.ledger.values import UsageRow

PRUNED_AT_ONCE = 1000
_NAMES = [column.name for column in usage_requests.columns]
_KEY = itemgetter(*(_NAMES.index(name) for name in DAY_KEYS))
_SUMMED = itemgetter(*(_NAMES.index(name) for name in DAY_SUMS[1:]))  # the first counts requests


class UsageStore:
    """Every method raises Unavailable when the database does not answer. What then became of a change is not known:
    it may be tried again, as often as is needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.engine.dialect
        grown = ", ".join(f"{name} = usage_days.{name} + excluded.{name}" for name in DAY_SUMS)
        new_days = f"ON CONFLICT ({_quoted(DAY_KEYS)}) DO UPDATE SET {grown}"
        self._add_days = insert_rows(usage_days, dialect, new_days)
        self._add_requests = insert_rows(
            usage_requests, dialect, "ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
        )

    async def add(self, rows: Sequence[UsageRow]) -> int:
        """Each request once, whoever brings it and how often. Answers how many were new."""
        if not rows:
            return 0
        values = {row.admission.request_id: to_values(row) for row in rows}
        given = parameter(sorted(values.values()))  # in one order: two gateways that bring the same never deadlock

        def add(connection: Connection) -> int:
            new = connection.execute(self._add_requests, given).scalars().all()
            if new:
                connection.execute(self._add_days, parameter(sums([values[request_id] for request_id in new])))
            return len(new)

        return await self._database.transact(add)

    async def prune(self, before: float) -> int:
        """Deletes some of the rows from before a time, the oldest first; sums by day stay. Answers how many."""
        oldest = (
            select(usage_requests.c.request_id)
            .where(usage_requests.c.at < before)
            .order_by(usage_requests.c.at)
            .limit(PRUNED_AT_ONCE)
        )
        async with self._database.session() as session:
            ids = list((await session.execute(oldest)).scalars())
            if ids:
                await session.execute(delete(usage_requests).where(usage_requests.c.request_id.in_(ids)))
        return len(ids)


def to_values(row: UsageRow) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    admission, closing = row.admission, row.closing
    delivered, price = closing.delivered, admission.price
    return (
        *(admission.request_id, admission.at, row.day, admission.tenant, admission.key, admission.base),
        *(admission.adapter, admission.generation, int(admission.band), str(closing.outcome)),
        *(delivered.prompt_tokens, delivered.cached_tokens, delivered.completion_tokens, row.computed),
        *(closing.cost, price.input, price.cached, price.output),
    )


def sums(values: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """In the order of the columns; their own order is always one, so that two gateways never wait for each other's."""
    totals: dict[tuple[str, ...], list[int]] = {}
    for value in values:
        total = totals.setdefault(_KEY(value), [0] * len(DAY_SUMS))
        for at, count in enumerate((1, *_SUMMED(value))):
            total[at] += count
    return [(*key, *total) for key, total in sorted(totals.items())]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
