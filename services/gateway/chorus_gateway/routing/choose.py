"""Which of the engines that could take a job gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_TIERS = {"gpu": 0, "host": 1}
_ABSENT = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that has a credit for us. `tiers` is where its adapters are; `open` and `capacity` count requests."""

    open: int
    capacity: int
    tiers: Mapping[str, str] = field(default_factory=dict)


def choose(candidates: Sequence[Candidate], adapter: str | None) -> int:
    """Index of the best: where the adapter is already, GPU before host memory, then where the fewest requests
    run for its size. The credits bound the load: a hot adapter's engine has none left, and another one is taken."""

    def cost(index: int) -> tuple[int, float, int]:
        candidate = candidates[index]
        tier = 0 if adapter is None else _TIERS.get(candidate.tiers.get(adapter, ""), _ABSENT)
        return tier, candidate.open / max(1, candidate.capacity), index

    return min(range(len(candidates)), key=cost)
