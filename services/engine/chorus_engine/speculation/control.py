"""How many drafts a request gets, by what became of those before, and whether a step's drafts pay, by its time."""

from collections import OrderedDict
from dataclasses import dataclass

from chorus_engine.speculation.step_time import StepTime

MOST_ROWS = 32  # that decode together: beyond, a step is long enough that more tokens cost as much as they bring
PRIOR = 0.6  # share of drafts taken, of whom nothing is known
LOW = 0.25  # below it a request gets none, but is tried again now and then
LEARNS, PRIOR_LEARNS = 0.1, 0.02  # weight of one draft
TRY_AFTER, TRY_AFTER_MOST = 32, 512  # tokens without drafts between two tries; doubled each time that one fails
TRIED = 2  # drafts of a try
GAIN = 1.03  # tokens a second, with drafts over without, that are worth the trouble
GROUPS = 1024  # adapters of which it is known how well their requests are guessed


@dataclass(slots=True)
class Record:
    """Of one request."""

    share: float  # of its drafts that were taken, the latest counting most
    wait: int = TRY_AFTER
    try_at: int = 0  # tokens produced


class Control:
    """Numbers alone: it knows requests by name and time by what it is told."""

    def __init__(self, most: int, most_rows: int = MOST_ROWS) -> None:
        """most: drafts of a row."""
        self.most = most
        self.most_rows = most_rows
        self._records: dict[str, Record] = {}
        self._priors: OrderedDict[str | None, float] = OrderedDict()  # by adapter
        self._time = StepTime()

    def drafts(self, request_id: str, adapter: str | None, produced: int, rows: int) -> int:
        """How many a request of an unfixed number gets beside so many rows that decode."""
        if rows > self.most_rows:
            return 0
        record = self._record(request_id, adapter)
        if record.share < LOW:
            return min(TRIED, self.most) if produced >= record.try_at else 0
        floor = 0.2 + 0.5 * rows / self.most_rows  # a draft less likely to be taken than that costs more than it brings
        count, chance = 1, record.share * record.share
        while count < self.most and chance >= floor:
            count, chance = count + 1, chance * record.share
        return count

    def expected(self, request_id: str, adapter: str | None, drafts: int) -> float:
        """Tokens of a step with so many drafts."""
        share = self._record(request_id, adapter).share
        return sum(share**place for place in range(drafts + 1))

    def pays(self, tokens: float, rows: int, drafted: int) -> bool:
        """Whether steps of so many expected tokens beat steps of one token a row. Now and then one is tried although
        they did not, since times change with the length of contexts."""
        return self._time.retry() or tokens / rows > GAIN * self._time.ratio(rows, drafted)

    def verified(self, request_id: str, adapter: str | None, drafted: int, taken: int, produced: int) -> None:
        record = self._record(request_id, adapter)
        prior = self._prior(adapter)
        for right in [1.0] * taken + [0.0] * (taken < drafted):
            record.share += LEARNS * (right - record.share)
            prior += PRIOR_LEARNS * (right - prior)
        self._priors[adapter] = prior
        if taken == drafted and record.share < LOW:
            record.share, record.wait = LOW, TRY_AFTER  # a try that succeeds
        elif record.share < LOW:
            record.try_at = produced + record.wait
            record.wait = min(2 * record.wait, TRY_AFTER_MOST)

    def timed(self, rows: int, drafted: int, seconds: float) -> None:
        self._time.add(rows, drafted, seconds)

    def forget(self, request_id: str) -> None:
        self._records.pop(request_id, None)

    def _record(self, request_id: str, adapter: str | None) -> Record:
        record = self._records.get(request_id)
        if record is None:
            share = self._prior(adapter)
            record = self._records[request_id] = Record(share, try_at=TRY_AFTER if share < LOW else 0)
        return record

    def _prior(self, adapter: str | None) -> float:
        prior = self._priors.pop(adapter, PRIOR)
        self._priors[adapter] = prior
        if len(self._priors) > GROUPS:
            self._priors.popitem(last=False)
        return prior

    def __len__(self) -> int:
        """Requests remembered."""
        return len(self._records)
