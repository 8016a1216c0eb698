"""What submissions came to, kept until the gateway that asked for them has taken it down."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chorus_engine.core.request import Usage

# All of them fit one gRPC message of 4 MiB.
MAX_KEPT = 40_000
MAX_AGE = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class SubmissionId:
    request_id: str
    attempt: int


class UsageBook:
    """By gateway worker, in the order in which they ended. Bounded in number and age: the oldest are dropped first.

    A gateway acknowledges what it has journaled, so nothing is lost with a stream or with the gateway itself.
    """

    def __init__(
        self,
        *,
        dropped: Callable[[int], None] = lambda _: None,
        max_kept: int = MAX_KEPT,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`dropped` hears how many nobody acknowledged in time."""
        self._dropped = dropped
        self._max_kept = max_kept
        self._max_age = max_age
        self._clock = clock
        # (worker, submission) → (usage, when it ended); the same ids by worker, so that one's are found among many.
        self._kept: OrderedDict[tuple[str, SubmissionId], tuple[Usage, float]] = OrderedDict()
        self._by_worker: dict[str, dict[SubmissionId, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, worker_id: str, submission: SubmissionId, usage: Usage) -> None:
        self._remove(worker_id, submission)  # an id that came twice moves to the end
        self._kept[worker_id, submission] = usage, self._clock()
        self._by_worker.setdefault(worker_id, {})[submission] = None
        self._expire()

    def acknowledge(self, worker_id: str, submissions: Iterable[SubmissionId]) -> None:
        """Unknown ones are ignored."""
        for submission in submissions:
            self._remove(worker_id, submission)

    def of(self, worker_id: str) -> list[tuple[SubmissionId, Usage]]:
        self._expire()
        submissions = self._by_worker.get(worker_id, {})
        return [(submission, self._kept[worker_id, submission][0]) for submission in submissions]

    def _expire(self) -> None:
        before, oldest = len(self._kept), self._clock() - self._max_age
        while self._kept:
            (worker_id, submission), (_, ended) = next(iter(self._kept.items()))
            if ended >= oldest and len(self._kept) <= self._max_kept:
                break
            self._remove(worker_id, submission)
        if before > len(self._kept):
            self._dropped(before - len(self._kept))

    def _remove(self, worker_id: str, submission: SubmissionId) -> None:
        if self._kept.pop((worker_id, submission), None) is None:
            return
        of_worker = self._by_worker[worker_id]
        del of_worker[submission]
        if not of_worker:
            del self._by_worker[worker_id]
