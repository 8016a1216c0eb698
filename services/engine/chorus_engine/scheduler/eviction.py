"""Which adapter is worth least to keep in its slot.

Worths are numbers to compare with each other; of what may go, the least goes first. A policy learns of each request
when it comes, whether its adapter was there or not.
"""

import math
from collections import OrderedDict
from typing import Protocol

HALF_LIFE = 60.0  # seconds after which a request counts half: what is asked for changes within minutes
REMEMBERED = 1 << 16  # adapters whose demand is known, in a slot or not
FIXED_BYTES = 1 << 20  # a load costs as much as this many bytes more: planning it, and steps until it is seen


class EvictionPolicy(Protocol):
    def asked(self, digest: str, now: float) -> None:
        """A request for the adapter came at `now`, in seconds."""

    def worth(self, digest: str, pages: int, size: int, last_use: float) -> float:
        """Of an adapter that takes `pages` pages and is loaded again by copying `size` bytes."""


class LeastRecentlyUsed:
    def asked(self, digest: str, now: float) -> None:
        """Use says it all."""

    def worth(self, digest: str, pages: int, size: int, last_use: float) -> float:
        return last_use


class Demand:
    """GreedyDual-Size-Frequency, with time as its clock: frequency x bytes to load again / pages.

    A request weighs 2 ** (time / half-life), so that old ones fade beside new ones while no number has to be touched
    as time goes by. The sum of an adapter's weights is kept as its logarithm; it outlives the adapter's stay in a slot,
    since what comes back is no stranger.
    """

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        self._half_life = half_life
        self._weights: OrderedDict[str, float] = OrderedDict()  # digest -> log2 of the sum, last asked for last

    def asked(self, digest: str, now: float) -> None:
        weight = now / self._half_life
        before = self._weights.get(digest, -math.inf)
        high, low = max(weight, before), min(weight, before)
        self._weights[digest] = high + math.log2(1.0 + 2.0 ** max(low - high, -100.0))
        self._weights.move_to_end(digest)
        if len(self._weights) > REMEMBERED:
            self._weights.popitem(last=False)

    def worth(self, digest: str, pages: int, size: int, last_use: float) -> float:
        weight = self._weights.get(digest, -math.inf)
        return weight + math.log2((size + FIXED_BYTES) / max(pages, 1))


def make_policy(name: str) -> EvictionPolicy:
    """`name`: "demand" or "lru"."""
    return LeastRecentlyUsed() if name == "lru" else Demand()
