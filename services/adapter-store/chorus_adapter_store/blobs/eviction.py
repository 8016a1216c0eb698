"""Which of the blobs held gives way first."""

import math
from collections import OrderedDict
from enum import StrEnum
from heapq import heapify, heappop, heappush

_HALF_LIFE = 600.0  # seconds after which a request counts half
_REMEMBERED = 1 << 16  # blobs whose demand is known, held or not
_SAME_FOR_ALL = 1 << 20  # bytes that could be read in the time that it takes to begin


class Policy(StrEnum):
    DEMAND = "demand"
    LRU = "lru"


class Eviction:
    """Orders what is held by its worth, which a request alone changes.

    DEMAND is GreedyDual-Size-Frequency with time as its clock: frequency x cost to read again / size. A request weighs
    2 ** (time / half-life), so that old ones fade beside new ones, and blobs that went are not strangers when they come
    back. Sums of weights are kept as logarithms. LRU goes by the last request.
    """

    def __init__(self, policy: Policy = Policy.DEMAND, half_life: float = _HALF_LIFE) -> None:
        self._policy = policy
        self._half_life = half_life
        self._weights: OrderedDict[str, float] = OrderedDict()
        self._held: dict[str, int] = {}  # key → size in bytes
        self._order: list[tuple[float, str]] = []  # a heap; entries that are not of today's worth are passed over

    def asked(self, key: str, now: float) -> None:
        """A request for the blob, whether it is held or not. `now` in seconds, never less than before."""
        self._weights[key] = self._weight(key, now)
        self._weights.move_to_end(key)
        forgotten = self._weights.popitem(last=False)[0] if len(self._weights) > _REMEMBERED else key
        for changed in {key, forgotten} & self._held.keys():
            self._push(changed)

    def hold(self, key: str, size: int) -> None:
        """A blob of `size` bytes is here from now on."""
        self._held[key] = size
        self._push(key)

    def release(self, key: str) -> None:
        self._held.pop(key, None)

    def victims(self, key: str, size: int, wanted: int) -> tuple[str, ...] | None:
        """What gives way so that `wanted` bytes become free for a blob of `size` bytes, least worth first.

        None, and nothing changes, when that is not to be had from blobs that are worth less.
        """
        chosen: dict[str, None] = {}
        worth = self._worth(key, size)
        while wanted > 0 and self._order and self._order[0][0] < worth:
            least, victim = heappop(self._order)
            if victim in self._held and least == self._worth(victim, self._held[victim]) and victim not in chosen:
                chosen[victim] = None
                wanted -= self._held[victim]
        if wanted <= 0:
            return tuple(chosen)
        for each in chosen:
            self._push(each)
        return None

    def _worth(self, key: str, size: int) -> float:
        weight = self._weights.get(key, -math.inf)
        if self._policy is Policy.LRU:
            return weight
        return weight + math.log2((_SAME_FOR_ALL + size) / max(size, 1))

    def _weight(self, key: str, now: float) -> float:
        """With a request of now."""
        if self._policy is Policy.LRU:
            return now
        added, before = now / self._half_life, self._weights.get(key, -math.inf)
        high, low = max(added, before), min(added, before)
        return high + math.log2(1 + 2.0 ** max(low - high, -100.0))

    def _push(self, key: str) -> None:
        if len(self._order) > 2 * len(self._held) + 64:
            self._order = [(self._worth(each, size), each) for each, size in self._held.items()]
            heapify(self._order)
        else:
            heappush(self._order, (self._worth(key, self._held[key]), key))
