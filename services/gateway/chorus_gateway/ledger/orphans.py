"""What this worker's own submissions came to whose stream broke, and what its engines keep although it need not be."""

import asyncio
from itertools import count

from prometheus_client import Counter

from chorus_gateway.engine_client.usage import SubmissionId
from chorus_gateway.ledger.inquiry import PATIENCE, Engines, Findings, Inquiry
from chorus_gateway.ledger.ledger import Ledger

INTERVAL = 0.5  # seconds between two rounds
SWEEP = 120  # rounds until every engine is asked: acknowledgements may have been lost with a stream


class Orphans:
    """`run` asks until it is cancelled. `unknown` counts final usages that nobody can tell."""

    def __init__(
        self, ledger: Ledger, engines: Engines, worker_id: str, unknown: Counter, *, patience: float = PATIENCE
    ) -> None:
        self._ledger = ledger
        self._engines = engines
        self._inquiry = Inquiry(engines, worker_id, patience=patience)
        self._unknown = unknown

    async def run(self) -> None:
        for number in count(1):
            await asyncio.sleep(INTERVAL)
            if number % SWEEP == 0:
                self._ledger.stale.update(self._engines.clients())
            if self._ledger.questions or self._ledger.stale:
                await self.round()

    async def round(self) -> None:
        for submission, question in self._ledger.questions.items():
            self._inquiry.want(submission, question.engine_id)
        stale = set(self._ledger.stale)
        findings = await self._inquiry.ask(also=stale)
        for submission, usage in findings.usage.items():
            self._unknown.inc(usage is None)
            question = self._ledger.questions.pop(submission)
            question.entry.ended(submission, usage, _unknown_there if usage is None else _by_a_round)
        await self._forget(findings)

    async def _forget(self, findings: Findings) -> None:
        for engine_id, kept in findings.kept.items():
            needless = [name for name in kept if not self._ledger.needs(name)]
            if await self._inquiry.acknowledge(engine_id, needless):
                self._ledger.stale.discard(engine_id)


def _unknown_there(_: SubmissionId) -> bool:
    return True


def _by_a_round(_: SubmissionId) -> bool:
    """There is no stream to acknowledge by: the engine is stale then, and asked again."""
    return False
