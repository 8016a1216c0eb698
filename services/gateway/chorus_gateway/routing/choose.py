"""Which engine suits a request: pure, over what is known of the engines of one base model at one moment.

An engine that has the adapter is preferred only up to a ceiling on its load, a little above the mean of all (consistent
hashing with bounded loads, Mirrokni et al. 2018): past it the adapter is hot enough for one more engine to load it.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from chorus_gateway.engine_client.residency import Tier

# The ceiling is this many times the mean share, and an eighth more: with nothing else to do an engine takes some
# requests before another one loads the same adapter (of two engines, a third of its size).
_ABOVE_MEAN = 1.25
_HEADROOM = 1 / 8
_NEARLY = 8  # shares that differ by less than an eighth are alike where an adapter is to be loaded


class Candidate(NamedTuple):
    """An engine. `tier` is where it has the adapter in question; promised and not shown yet is FETCHING."""

    id: str
    load: int  # requests that run or wait there, of all gateways
    capacity: int  # requests that run at once, at least 1
    tier: Tier = Tier.ABSENT
    free_slots: int = 0
    idle_slots: int = 0
    coming: int = 0  # other adapters that it was given to load and does not show yet

    @property
    def share(self) -> float:
        """Of its size that is in use."""
        return self.load / self.capacity


def ceiling(load: int, capacity: int) -> float:
    """The share up to which an engine is preferred for what it has, from all engines' requests and sizes together. At
    least one is below."""
    return _ABOVE_MEAN * load / capacity + _HEADROOM


def preferred(holders: Sequence[Candidate], limit: float) -> list[Candidate]:
    """Of the engines that have the adapter, those that a request for it should wait for: where it is nearest, of those
    that are not too busy. `limit` is the ceiling over all engines of the base model. While the adapter is only being
    fetched, no load is too much: another engine would not have it sooner."""
    if all(engine.tier is Tier.FETCHING for engine in holders):
        return list(holders)
    free = [engine for engine in holders if engine.share < limit]
    nearest = max((engine.tier for engine in free), default=Tier.ABSENT)
    return [engine for engine in free if engine.tier is nearest]


def choose(engines: Sequence[Candidate], adapter: str | None, limit: float) -> Candidate:
    """The best of those that can take the request now. `limit` as for `preferred`.

    For an adapter: where it is nearest; else where a slot is free, then where one is idle, then the rest; and what is
    too busy last. Among those that are alike a hash decides, so that gateways agree without a word and adapters spread.
    For the base model, and among engines that have the adapter: the least loaded for its size.
    """

    def loaded(engine: Candidate) -> tuple[float, str]:
        return engine.share, engine.id

    def suited(engine: Candidate) -> tuple[float, ...]:
        busy = engine.share >= limit and engine.tier is not Tier.FETCHING
        nearness = (busy, -engine.tier)
        same = _hash(f"{adapter} {engine.id}")
        if engine.tier is not Tier.ABSENT:
            return *nearness, 0, engine.share, same
        return *nearness, _room(engine), int(engine.share * _NEARLY), same

    return min(engines, key=loaded) if adapter is None else min(engines, key=suited)


def _room(engine: Candidate) -> int:
    if engine.free_slots > engine.coming:
        return 0
    return 1 if engine.free_slots + engine.idle_slots > engine.coming else 2


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
