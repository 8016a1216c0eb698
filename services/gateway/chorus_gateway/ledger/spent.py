"""What the ledger remembers of a limit's holder: the quota's counters are rebuilt from it."""

import time
from collections.abc import Callable

from sqlalchemy import func, select

from chorus_gateway.db import Database, usage_days
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.values import Admission, day_of
from chorus_gateway.ledger.writer import Writer
from chorus_gateway.quota.base import Subject, SubjectKind, Used
from chorus_gateway.quota.periods import start_of
from chorus_gateway.values import Period


class LedgerSpent:
    """The quota's `Spent`: SQL's sums by day, and this worker's requests that are over and not in SQL yet."""

    def __init__(
        self, database: Database, ledger: Ledger, writer: Writer, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._writer = writer
        self._clock = clock

    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        since = day_of(start_of(period, self._clock()))
        async with self._writer.lock:  # so that no request is counted in both places, or in none
            stored = await self._stored(tenant, subject, since)
            waiting = self._waiting(tenant, subject, since)
        return Used(stored.tokens + waiting.tokens, stored.cost + waiting.cost)

    async def _stored(self, tenant: str, subject: Subject, since: str) -> Used:
        tokens = func.sum(usage_days.c.prompt + usage_days.c.completion)
        query = select(tokens, func.sum(usage_days.c.cost)).where(
            usage_days.c.tenant == tenant, usage_days.c.day >= since
        )
        if subject.kind is not SubjectKind.TENANT:
            column = usage_days.c.key if subject.kind is SubjectKind.KEY else usage_days.c.adapter
            query = query.where(column == subject.id)
        async with self._database.session() as session:
            found = (await session.execute(query)).one()
        return Used(int(found[0] or 0), int(found[1] or 0))

    def _waiting(self, tenant: str, subject: Subject, since: str) -> Used:
        tokens = cost = 0
        for entry in self._ledger.entries:
            admission, closing = entry.tally.admission, entry.tally.closing
            if closing and day_of(admission.at) >= since and _is_of(admission, tenant, subject):
                tokens += closing.delivered.prompt_tokens + closing.delivered.completion_tokens
                cost += closing.cost
        return Used(tokens, cost)


def _is_of(admission: Admission, tenant: str, subject: Subject) -> bool:
    holders = {SubjectKind.TENANT: tenant, SubjectKind.KEY: admission.key, SubjectKind.ADAPTER: admission.adapter}
    return admission.tenant == tenant and holders[subject.kind] == subject.id
