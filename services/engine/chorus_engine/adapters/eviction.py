"""Which adapter is worth least to keep."""

import math
from collections import OrderedDict
from typing import Protocol

HALF_LIFE = 600.0  # seconds after which a request counts half
REMEMBERED = 1 << 16  # adapters whose demand is known, held or not


class EvictionPolicy(Protocol):
    """Values may be compared with each other only. What is held gives way in their order, least first."""

    def asked(self, digest: str, now: float) -> None:
        """A request needed the adapter, whether it was there or not. Its value never falls by this."""

    def value(self, digest: str, size: int, seconds: float, now: float, *, asked: bool = False) -> float:
        """Of an adapter of `size` bytes that takes `seconds` to bring back. asked: as if it were asked for now."""


class LeastRecentlyUsed:
    def __init__(self) -> None:
        self._last: OrderedDict[str, float] = OrderedDict()

    def asked(self, digest: str, now: float) -> None:
        self._last[digest] = now
        self._last.move_to_end(digest)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)

    def value(self, digest: str, size: int, seconds: float, now: float, *, asked: bool = False) -> float:
        return now if asked else self._last.get(digest, -math.inf)


class Demand:
    """Seconds of loading that a byte saves: frequency x seconds to bring back / size.

    GreedyDual-Size-Frequency with time as its clock: a request weighs 2 ** (time / half-life), so that old ones fade
    beside new ones, and an order, once there, changes by requests alone. (The clock of the original, the value of what
    was evicted last, keeps fewer of the adapters that are asked for often: S-LoRA's trace.) The sum of these weights is
    kept as its logarithm, and is remembered for adapters that went, which are not strangers when they come back.
    """

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        self._half_life = half_life
        self._weights: OrderedDict[str, float] = OrderedDict()  # digest -> log2 of the sum

    def asked(self, digest: str, now: float) -> None:
        self._weights[digest] = self._after(digest, now)
        self._weights.move_to_end(digest)
        if len(self._weights) > REMEMBERED:
            self._weights.popitem(last=False)

    def value(self, digest: str, size: int, seconds: float, now: float, *, asked: bool = False) -> float:
        weight = self._after(digest, now) if asked else self._weights.get(digest, -math.inf)
        return weight + math.log2(seconds / size)

    def _after(self, digest: str, now: float) -> float:
        """The logarithm of the sum with a request of now."""
        weight = now / self._half_life
        before = self._weights.get(digest, -math.inf)
        high, low = max(weight, before), min(weight, before)
        return high + math.log2(1 + 2.0 ** max(low - high, -100.0))


class ReloadCost:
    """Seconds that an adapter takes to come: a part that is the same for all, and one that goes by its bytes.

    Measured on those that came, of which recent ones weigh more.
    """

    FIXED = 0.005  # seconds; asking the store, and the steps between
    FADE = 0.95

    def __init__(self) -> None:
        self._seconds = 0.05
        self._bytes = 10_000_000.0

    def came(self, size: int, seconds: float) -> None:
        self._seconds = self.FADE * self._seconds + max(seconds - self.FIXED, 0.0)
        self._bytes = self.FADE * self._bytes + size

    def __call__(self, size: int) -> float:
        return self.FIXED + size * self._seconds / self._bytes


def make_policy(name: str) -> EvictionPolicy:
    """`name`: "demand" or "lru"."""
    return LeastRecentlyUsed() if name == "lru" else Demand()
