"""Usage in SQL: a row for each request, and sums by day that are kept when rows are not."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from chorus_gateway.db import Database, usage_days, usage_requests
from chorus_gateway.db.usage import DAY_KEYS, DAY_SUMS
from chorus_gateway.ledger.values import UsageRow

PRUNED_AT_ONCE = 1000


class UsageStore:
    """Every method raises Unavailable when the database does not answer. What then became of a change is not known:
    it may be tried again, as often as is needed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Sequence[UsageRow]) -> int:
        """Each request once, whoever brings it and how often. Answers how many were new."""
        values = {row.admission.request_id: to_values(row) for row in rows}
        if not values:
            return 0
        async with self._database.session() as session:
            insert = _insert(self._database, usage_requests).on_conflict_do_nothing(index_elements=["request_id"])
            statement: Executable = insert.returning(usage_requests.c.request_id)
            new = list((await session.execute(statement, list(values.values()))).scalars())
            if new:
                await session.execute(self._add_sums(), sums([values[request_id] for request_id in new]))
        return len(new)

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

    def _add_sums(self) -> Any:
        insert = _insert(self._database, usage_days)
        grown = {name: usage_days.c[name] + insert.excluded[name] for name in DAY_SUMS}
        return insert.on_conflict_do_update(index_elements=list(DAY_KEYS), set_=grown)


def to_values(row: UsageRow) -> dict[str, Any]:
    admission, closing = row.admission, row.closing
    return {
        "request_id": admission.request_id,
        "at": admission.at,
        "day": row.day,
        "tenant": admission.tenant,
        "key": admission.key,
        "base": admission.base,
        "adapter": admission.adapter,
        "generation": admission.generation,
        "band": int(admission.band),
        "outcome": closing.outcome.value,
        "prompt": closing.delivered.prompt_tokens,
        "cached": closing.delivered.cached_tokens,
        "completion": closing.delivered.completion_tokens,
        "computed": row.computed,
        "cost": closing.cost,
        "price_input": admission.price.input,
        "price_cached": admission.price.cached,
        "price_output": admission.price.output,
    }


def sums(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """In one order, so that two gateways never wait for each other's rows."""
    totals: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(DAY_SUMS, 0))
    for value in values:
        total = totals[tuple(value[name] for name in DAY_KEYS)]
        total["requests"] += 1
        for name in DAY_SUMS[1:]:
            total[name] += value[name]
    return [dict(zip(DAY_KEYS, key, strict=True)) | total for key, total in sorted(totals.items())]


def _insert(database: Database, table: Any) -> Any:
    """Both dialects have the same clause for conflicts, in a class of its own each."""
    dialect = postgresql if database.engine.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
