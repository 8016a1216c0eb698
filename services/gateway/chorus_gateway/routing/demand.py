"""How much each adapter is asked for, told to the adapter store through Redis.

Counted in windows of five seconds: `a:<digest>` requests that arrived, `b:<digest>` milliseconds of requests in flight,
waiting ones too, so that busy milliseconds over a window's length are the mean number of requests in flight. Counting
is in memory; one task tells Redis what has been counted since it last did.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

WINDOW = 5  # seconds
_KEPT_WINDOWS = 6  # that are kept while Redis is away
_KEY_TTL = 120  # seconds
_INTERVAL = 0.25  # seconds between two reports
_MOST_A_REPORT = 1000  # entries
_MOST_KEPT = 20_000  # entries

Subject = tuple[str, str]  # digests of base model and adapter


@dataclass(slots=True)
class Count:
    arrivals: int = 0
    busy: int = 0  # milliseconds


@dataclass(slots=True)
class _InFlight:
    requests: int
    since: int  # counted up to here: milliseconds on the monotonic clock


@dataclass(frozen=True, slots=True)
class Entry:
    window: int  # seconds since 1970, divided by WINDOW
    subject: Subject
    count: Count


class Demand:
    """Every `begin` has its `end`."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._in_flight: dict[Subject, _InFlight] = {}
        self._counts: dict[int, dict[Subject, Count]] = {}  # by window

    @property
    def in_flight(self) -> int:
        return sum(flight.requests for flight in self._in_flight.values())

    def begin(self, subject: Subject) -> None:
        """A request arrives."""
        flight = self._in_flight.setdefault(subject, _InFlight(0, self._now()))
        self._advance(subject, flight)
        flight.requests += 1
        self._count(subject).arrivals += 1

    def end(self, subject: Subject) -> None:
        flight = self._in_flight[subject]
        self._advance(subject, flight)
        flight.requests -= 1
        if not flight.requests:
            del self._in_flight[subject]

    def take(self, most: int = _MOST_A_REPORT) -> list[Entry]:
        """What was counted up to now and not taken, the oldest first. What is not told is to be given back."""
        for subject, flight in self._in_flight.items():
            self._advance(subject, flight)
        taken: list[Entry] = []
        for window in sorted(self._counts):
            counts = self._counts[window]
            some = list(counts)[: most - len(taken)]
            taken.extend(Entry(window, subject, counts.pop(subject)) for subject in some)
            if not counts:
                del self._counts[window]
        return taken

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Redis did not take them. They are kept, but for windows that nobody reads any more and above a bound."""
        for entry in entries:
            count = self._counts.setdefault(entry.window, {}).setdefault(entry.subject, Count())
            count.arrivals += entry.count.arrivals
            count.busy += entry.count.busy
        oldest = self._window() - _KEPT_WINDOWS
        for window in sorted(self._counts):
            if window <= oldest or sum(map(len, self._counts.values())) > _MOST_KEPT:
                del self._counts[window]

    def _advance(self, subject: Subject, flight: _InFlight) -> None:
        now = self._now()
        if flight.requests and now > flight.since:
            self._count(subject).busy += flight.requests * (now - flight.since)
        flight.since = now

    def _count(self, subject: Subject) -> Count:
        return self._counts.setdefault(self._window(), {}).setdefault(subject, Count())

    def _window(self) -> int:
        return int(self._wall()) // WINDOW

    def _now(self) -> int:
        return int(self._monotonic() * 1000)


class DemandReports:
    """`run` reports until it is cancelled, and once more then."""

    def __init__(self, demand: Demand, redis: Redis, *, interval: float = _INTERVAL) -> None:
        self._demand = demand
        self._redis = redis
        self._interval = interval
        self._heard = True

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.report()
        finally:
            await self.report()

    async def report(self) -> None:
        """A report that may have arrived and was not answered is made again: rather twice than never."""
        left: dict[str, list[Entry]] = {}
        for entry in self._demand.take():
            left.setdefault(entry.subject[0], []).append(entry)
        try:
            for base in list(left):
                await self._write(base, left[base])
                del left[base]
            self._heard = True
        except (RedisError, OSError) as error:
            if self._heard:
                _log.warning("demand is not reported", extra={"reason": str(error)})
            self._heard = False
        finally:
            self._demand.give_back([entry for some in left.values() for entry in some])

    async def _write(self, base: str, entries: Iterable[Entry]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, some in _by_key(base, entries).items():
            for entry in some:
                adapter = entry.subject[1]
                if entry.count.arrivals:
                    pipeline.hincrby(key, f"a:{adapter}", entry.count.arrivals)
                if entry.count.busy:
                    pipeline.hincrby(key, f"b:{adapter}", entry.count.busy)
            pipeline.expire(key, _KEY_TTL)
        await pipeline.execute()


def _by_key(base: str, entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    by_key: dict[str, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(f"chorus:demand:{{{base}}}:{entry.window}", []).append(entry)
    return by_key
