"""What became of submissions whose stream broke: asked of their engines until it is known, or for so long."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chorus_gateway.engine_client.usage import Orphaned, SubmissionId
from chorus_gateway.errors import Unavailable
from chorus_gateway.values import Usage

PATIENCE = 60.0  # seconds that an engine may be away of which nobody knows whether it comes back
KEPT_SECONDS = 3600.0  # that engines keep what nobody acknowledges
# An engine that has never heard of a submission may be about to: the frame that carried it may still be unread.
UNHEARD = 3

log = logging.getLogger(__name__)


class UsageKeeper(Protocol):
    """An engine. Both calls raise Unavailable when it does not answer."""

    async def orphaned_usage(self, worker_id: str) -> Orphaned: ...

    async def acknowledge_usage(self, worker_id: str, submissions: Sequence[SubmissionId]) -> None: ...


class Engines(Protocol):
    def clients(self) -> Mapping[str, UsageKeeper]:
        """Those connected, by id."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all engines that are alive are known."""
        ...

    def is_gone(self, engine_id: str) -> bool:
        """Whether it is known that it never comes back under this id."""
        ...


@dataclass(slots=True)
class Wanted:
    engine_id: str
    first: float  # when it was first wanted
    since: float  # how long its engine has been away although all that live are known
    unheard: int = 0  # times that its engine did not know it


@dataclass(frozen=True, slots=True)
class Findings:
    """None is never to be known. `kept`: all that the engines asked still keep for the worker."""

    usage: dict[SubmissionId, Usage | None] = field(default_factory=dict)
    kept: dict[str, list[SubmissionId]] = field(default_factory=dict)


class Inquiry:
    """Into one worker's submissions."""

    def __init__(
        self,
        engines: Engines,
        worker_id: str,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = engines
        self._worker_id = worker_id
        self._patience = patience
        self._clock = clock
        self._wanted: dict[SubmissionId, Wanted] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def want(self, submission: SubmissionId, engine_id: str) -> None:
        if submission not in self._wanted:
            self._wanted[submission] = Wanted(engine_id, self._clock(), self._clock())

    async def ask(self, also: Iterable[str] = ()) -> Findings:
        """One round, of the engines that have something that is wanted and of those named in `also`."""
        findings = Findings()
        by_engine: dict[str, list[SubmissionId]] = defaultdict(list)
        for submission, wanted in self._wanted.items():
            by_engine[wanted.engine_id].append(submission)
        for engine_id in by_engine.keys() | set(also):
            await self._ask(engine_id, by_engine[engine_id], findings)
        for submission in findings.usage:
            del self._wanted[submission]
        return findings

    async def acknowledge(self, engine_id: str, submissions: Sequence[SubmissionId]) -> bool:
        engine = self._engines.clients().get(engine_id)
        if engine is None or not submissions:
            return engine is not None
        try:
            await engine.acknowledge_usage(self._worker_id, submissions)
        except Unavailable:
            return False
        return True

    async def _ask(self, engine_id: str, submissions: list[SubmissionId], findings: Findings) -> None:
        engine = self._engines.clients().get(engine_id)
        try:
            told = await engine.orphaned_usage(self._worker_id) if engine else None
        except Unavailable as error:
            log.warning("an engine does not tell what it keeps", extra={"engine": engine_id, "reason": error.message})
            told = None
        if told is not None:
            findings.kept[engine_id] = list(told.ended)
        for submission in submissions:
            if told is not None and submission in told.ended:
                findings.usage[submission] = told.ended[submission]
            elif self._hopeless(submission, told):
                findings.usage[submission] = None

    def _hopeless(self, submission: SubmissionId, told: Orphaned | None) -> bool:
        wanted = self._wanted[submission]
        if told is None:
            now = self._clock()
            wanted.since = wanted.since if self._engines.complete else now
            late = now - wanted.since > self._patience or now - wanted.first > KEPT_SECONDS
            return late or self._engines.is_gone(wanted.engine_id)
        wanted.unheard = 0 if submission in told.live else wanted.unheard + 1
        return wanted.unheard >= UNHEARD
