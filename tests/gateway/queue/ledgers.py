"""A Ledger without Redis."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chorus_gateway.queue.counters import AHEAD, Agreed, Entry
from chorus_gateway.values import Band


@dataclass
class MemoryLedgers:
    """What all workers share. Each has a `worker` of its own."""

    counters: dict[tuple[Band, str], float] = field(default_factory=dict)
    workers: dict[tuple[Band, str], tuple[int, float | None]] = field(default_factory=dict)
    served: dict[Band, float] = field(default_factory=lambda: dict.fromkeys(Band, 0.0))

    def worker(self, name: str) -> "MemoryLedger":
        return MemoryLedger(self, name)


@dataclass
class MemoryLedger:
    all: MemoryLedgers
    name: str

    async def share(
        self, band: Band, number: int, lowest: float | None, served: float, batch: Mapping[str, Entry]
    ) -> Agreed:
        shared, me = self.all, (band, self.name)
        fresh = shared.workers.get(me, (0, None))[0] != number
        shared.served[band] = max(shared.served[band], served)
        others = [
            low
            for (other, name), (_, low) in shared.workers.items()
            if other == band and name != me[1] and low is not None
        ]
        elsewhere = min(others, default=None)
        floor = min((each for each in (lowest, elsewhere) if each is not None), default=shared.served[band]) - AHEAD
        answer: dict[str, float] = {}
        for tenant, entry in batch.items():
            counter = max(shared.counters.get((band, tenant), entry.known), entry.known)
            counter += entry.delta if fresh else 0.0
            counter = max(counter, floor) if entry.returned else counter
            answer[tenant] = shared.counters[band, tenant] = counter
            if entry.returned and entry.waits:
                lowest = counter if lowest is None else min(lowest, counter)
        shared.workers[me] = (number, lowest)
        return Agreed(answer, elsewhere, shared.served[band])
