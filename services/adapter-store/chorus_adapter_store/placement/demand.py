"""Demand as gateways count it: buckets of a few seconds, read back as means over two windows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chorus_adapter_store.placement.fleet import Demand
from chorus_adapter_store.placement.keys import BUCKET_SECONDS

SHORT = 2  # buckets, the one that is being filled included
LONG = 13
_OPEN = 2  # newest buckets, which gateways may still add to


@dataclass(frozen=True, slots=True)
class Bucket:
    """By digest."""

    arrived: Mapping[str, int] = field(default_factory=dict)  # requests
    busy: Mapping[str, int] = field(default_factory=dict)  # milliseconds of requests in flight


class DemandWindow:
    """The last buckets of one base."""

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}

    def wanted(self, now: float) -> list[int]:
        """Numbers of the buckets to read: what is closed is read once."""
        newest = _number(now)
        numbers = range(newest - LONG + 1, newest + 1)
        return [each for each in numbers if each > newest - _OPEN or each not in self._buckets]

    def put(self, number: int, bucket: Bucket) -> None:
        self._buckets[number] = bucket

    def demand(self, now: float) -> dict[str, Demand]:
        """By digest, of those that had any."""
        newest = _number(now)
        self._buckets = {number: each for number, each in self._buckets.items() if number > newest - LONG}
        short = _means(self._buckets, newest - SHORT + 1, now)
        long = _means(self._buckets, newest - LONG + 1, now)
        nothing = (0.0, 0.0)
        return {digest: Demand(*short.get(digest, nothing), *rates) for digest, rates in long.items()}


def _number(now: float) -> int:
    return int(now) // BUCKET_SECONDS


def _means(buckets: Mapping[int, Bucket], oldest: int, now: float) -> dict[str, tuple[float, float]]:
    """By digest: requests in flight, and arrivals a second."""
    seconds = max(now - oldest * BUCKET_SECONDS, BUCKET_SECONDS)
    chosen = [each for number, each in buckets.items() if number >= oldest]
    busy, arrived = _sums(each.busy for each in chosen), _sums(each.arrived for each in chosen)
    return {
        digest: (busy.get(digest, 0) / 1000 / seconds, arrived.get(digest, 0) / seconds)
        for digest in sorted(busy.keys() | arrived.keys())
    }


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for digest, count in each.items():
            total[digest] = total.get(digest, 0) + count
    return total
