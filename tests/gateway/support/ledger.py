"""Requests for the ledger, and an engine that only keeps usage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from chorus_gateway.engine_client.usage import Orphaned, SubmissionId
from chorus_gateway.errors import Unavailable
from chorus_gateway.ledger.adoption import Adoption
from chorus_gateway.ledger.entry import Entry
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import Admission, Closing, Outcome, UsageRow
from chorus_gateway.values import Price, Usage

AT = 1_800_000_000.0  # 2027-01-15
DAY = "2027-01-15"
PRICE = Price(input=100_000, cached=10_000, output=300_000)
USED = Usage(10, 4, 6, 14)  # prompt, completion, cached, computed


def admission(request_id: str = "req_a", **fields: Any) -> Admission:
    defaults: dict[str, Any] = {"at": AT, "tenant": "acme", "key": "key1", "base": "chorus-demo", "price": PRICE}
    return Admission(request_id, **(defaults | fields))


def row(request_id: str, *, cost: int = 5, computed: int = 20, used: Usage = USED, **fields: Any) -> UsageRow:
    return UsageRow(admission(request_id, **fields), Closing(Outcome.OK, used, cost), computed)


def name(request_id: str = "req_a", choice: int = 0, attempt: int = 0) -> SubmissionId:
    return SubmissionId(f"{request_id}-{choice}", attempt)


def counter() -> Counter:
    return Counter("counted", "Counted.", registry=None)


def counted(counter: Counter) -> float:
    return float(counter._value.get())


@dataclass
class Acknowledged:
    """A session's way to acknowledge."""

    names: list[SubmissionId] = field(default_factory=list)
    lost: bool = False

    def __call__(self, submission: SubmissionId) -> bool:
        if not self.lost:
            self.names.append(submission)
        return not self.lost


@dataclass
class KeepingEngine:
    ended: dict[SubmissionId, Usage] = field(default_factory=dict)
    live: set[SubmissionId] = field(default_factory=set)
    away: bool = False
    acknowledged: list[SubmissionId] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # for which worker

    async def orphaned_usage(self, worker_id: str) -> Orphaned:
        self._answer()
        self.asked.append(worker_id)
        return Orphaned(dict(self.ended), frozenset(self.live))

    async def acknowledge_usage(self, worker_id: str, submissions: Sequence[SubmissionId]) -> None:
        self._answer()
        self.acknowledged += submissions
        for submission in submissions:
            self.ended.pop(submission, None)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("The engine does not answer.")


class KnownEngines(dict[str, KeepingEngine]):
    """By id; `gone` ones never come back."""

    def __init__(self, **engines: KeepingEngine) -> None:
        super().__init__({name.replace("_", "-"): engine for name, engine in engines.items()})
        self.gone: set[str] = set()
        self.complete = True

    def clients(self) -> dict[str, KeepingEngine]:
        return self

    def is_gone(self, engine_id: str) -> bool:
        return engine_id in self.gone


class Worker:
    """A gateway worker's part of the ledger, which a test may kill."""

    def __init__(self, folder: Path, worker_id: str = "worker1", **limits: Any) -> None:
        self.journal = Journal(folder, worker_id, **limits)
        self.ledger = Ledger(self.journal)

    def admit(self, request_id: str = "req_a", **fields: Any) -> Entry:
        return self.ledger.admit(admission(request_id, **fields))

    def served(self, request_id: str, usage: Usage = USED, delivered: Usage | None = None) -> Entry:
        """A request from its admission to its end, by one submission."""
        entry = self.admit(request_id)
        entry.sent(name(request_id), "engine-1")
        entry.ended(name(request_id), usage, Acknowledged())
        entry.close(Outcome.OK, delivered or usage)
        return entry

    def kill(self) -> None:
        """The kernel lets go of the lock and keeps what was written."""
        self.journal.abandon()


class MemoryStore(UsageStore):
    """SQL's promise of one row for each request, without SQL. `fails` times it is away, the last time after it
    committed."""

    def __init__(self, fails: int = 0, *, commits: bool = False) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.fails = fails
        self._commits = commits

    async def add(self, rows: Sequence[UsageRow]) -> int:
        self.fails -= 1
        if self.fails >= 0 and not self._commits:
            raise Unavailable("The gateway's database does not answer.")
        new = [each for each in rows if each.admission.request_id not in self.rows]
        self.rows |= {each.admission.request_id: each for each in new}
        if self.fails >= 0:
            raise Unavailable("The gateway's database does not answer.")
        return len(new)


def adoption(folder: Path, store: UsageStore, engine: KeepingEngine | None = None, *, patience: float = 60) -> Adoption:
    """With that engine as engine-1, or with none."""
    engines = KnownEngines() if engine is None else KnownEngines(engine_1=engine)
    return Adoption(folder, store, engines, counter(), counter(), patience=patience)
