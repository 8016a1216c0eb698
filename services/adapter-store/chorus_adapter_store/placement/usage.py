"""How much each adapter is used, older requests counting less."""

import math
from collections.abc import Iterable, Mapping

from chorus_adapter_store.placement.fleet import Demand
from chorus_adapter_store.values import Usage

KEPT = 512  # adapters of a base
_HALF_LIFE = 3600.0  # seconds


class UsageBook:
    """Times are seconds since 1970."""

    def __init__(self, known: Iterable[Usage] = ()) -> None:
        self._known: dict[str, dict[str, Usage]] = {}  # by base, then digest
        for each in known:
            self._known.setdefault(each.base_digest, {})[each.digest] = each

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(sorted(self._known))

    def add(self, base_digest: str, demand: Mapping[str, Demand], seconds: float, now: float) -> None:
        """What arrived in the last `seconds`."""
        known = self._known.setdefault(base_digest, {})
        for digest, each in demand.items():
            if arrived := each.arriving * seconds:
                before = known.get(digest)
                score = arrived + (_score(before, now) if before is not None else 0.0)
                known[digest] = Usage(base_digest, digest, score, now)

    def top(self, base_digest: str, now: float) -> tuple[Usage, ...]:
        """The most used first; the rest is forgotten."""
        known = self._known.get(base_digest, {})
        best = sorted(known.values(), key=lambda each: (-_score(each, now), each.digest))[:KEPT]
        self._known[base_digest] = {each.digest: each for each in best}
        return tuple(best)


def _score(usage: Usage, now: float) -> float:
    return usage.score * math.exp2(-max(0.0, now - usage.used_at) / _HALF_LIFE)
