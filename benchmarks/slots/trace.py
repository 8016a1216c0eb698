"""S-LoRA's synthetic trace: many adapters of mixed ranks, a few of them asked for often.

Requests come by a Gamma process; each picks its adapter by a power law. Nothing here needs torch.
"""

import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

RANKS = (4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float  # seconds after the start
    adapter_index: int


def rank_of(adapter_index: int) -> int:
    """Ranks take turns, so that they have nothing to do with popularity."""
    return RANKS[adapter_index % len(RANKS)]


def trace(
    seed: int, adapters: int = 1000, *, alpha: float, rate: float, seconds: float, cv: float = 1.0
) -> tuple[Arrival, ...]:
    """The adapter of popularity rank i is asked for with a probability that goes with i ** -alpha; which one is the
    i-th most popular is drawn too.

    `rate`: requests a second in the mean. `cv`: of the times between two requests; 1 is a Poisson process.
    """
    draw = random.Random(seed)
    order = draw.sample(range(adapters), adapters)
    weights = list(accumulate((place + 1) ** -alpha for place in range(adapters)))
    shape = cv**-2
    arrivals = []
    now = draw.gammavariate(shape, 1 / (shape * rate))
    while now < seconds:
        place = min(bisect(weights, draw.random() * weights[-1]), adapters - 1)
        arrivals.append(Arrival(now, order[place]))
        now += draw.gammavariate(shape, 1 / (shape * rate))
    return tuple(arrivals)
