"""Which adapters to fetch into the host's memory, and which to load into slots, for the requests that wait."""

from collections.abc import Iterator
from itertools import islice

from chorus_engine.core.load import SlotState
from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler.eviction import EvictionPolicy
from chorus_engine.scheduler.ripeness import Ripeness
from chorus_engine.scheduler.rows import RowTable
from chorus_engine.scheduler.slots import Slot, SlotTable
from chorus_engine.scheduler.waiting import WaitingQueue
from chorus_engine.scheduler.whereabouts import Reach, Whereabouts

LOADS_A_STEP = 2  # planning one of hundreds of modules takes a part of a millisecond; the next step goes on
LOOKS_A_STEP = 64  # adapters that are tried in one step while the pool is too full for each of them


class Placement:
    """Adapters are placed in the order of their first waiting requests, and none waits for another's turn.

    Idle slots give way, those worth least first, unless their adapter is waited for too or pinned. An adapter with a
    ripe request goes first, nothing is loaded after it until it has room, and as many slots as it needs are drained,
    those first whose requests have the fewest tokens left.
    """

    def __init__(
        self,
        slots: SlotTable,
        waiting: WaitingQueue,
        rows: RowTable,
        where: Whereabouts,
        ripeness: Ripeness,
        policy: EvictionPolicy,
    ) -> None:
        self._slots = slots
        self._waiting = waiting
        self._rows = rows
        self._where = where
        self._ripeness = ripeness
        self._policy = policy
        self._begun: list[SlotLoad] = []  # by `prefetch`, for the next step
        self.gpu_hits = 0
        self.host_hits = 0
        self.misses = 0

    def asked(self, digest: str, now: float) -> None:
        """A request for the adapter came."""
        self._policy.asked(digest, now)
        if self._slots.is_ready(digest):
            self.gpu_hits += 1
        elif self._where.is_hosted(digest):
            self.host_hits += 1
        else:
            self.misses += 1

    # ---------------------------------------------------------------- host memory

    def wanted(self) -> tuple[str, ...]:
        """Adapters to fetch, the first needed first; each is named once until its fetch ends or the host evicts it."""
        self.sync()
        away = tuple(self._waiting.adapters(Reach.AWAY))
        for digest in away:
            self._where.asked(digest)
            self._waiting.moved(digest)
        return away

    def fetched(self, footprint: AdapterFootprint) -> None:
        self._where.fetched(footprint)
        self._waiting.moved(footprint.digest)

    def refused(self, digest: str, why: str) -> None:
        """It fits no empty pool."""
        self._where.refused(digest, why)
        self._waiting.moved(digest)

    def failed(self, digest: str) -> None:
        self._where.failed(digest)
        self._waiting.moved(digest)

    def evicted(self, digest: str) -> None:
        self._where.evicted(digest)
        self._waiting.moved(digest)

    # ---------------------------------------------------------------- slots

    def sync(self) -> None:
        """The waiting learn where their adapters are, after whatever slots did."""
        for digest in self._slots.take_moved():
            self._waiting.moved(digest)

    def place(self, now: float) -> tuple[SlotLoad, ...]:
        """Loads to begin in this step."""
        self.sync()
        begun, self._begun = tuple(self._begun), []
        loads = begun + tuple(islice(self._loads(now), LOADS_A_STEP))
        self.sync()
        return loads

    def prefetch(self, digest: str, now: float, *, pin: bool) -> str | None:
        """Load an adapter that host memory has and no slot, for no request. None when that begins, else why it cannot.

        What waits for room goes first; only slots worth less give way, for a pin all that are idle.
        """
        footprint = self._where.footprint(digest)
        self.sync()
        if self._waiting.any(Reach.HOSTED):
            return "requests wait for slots"
        spare = self._spare()
        if not pin:
            pages = self._slots.pages(footprint)
            worth = self._policy.worth(digest, pages, footprint.bytes, now)
            spare = [slot for slot in spare if self._worth(slot) < worth]
        if not self._evict_for(footprint, spare):
            return f"{self._slots.free} slots are free and {len(spare)} more may give way, which is not room enough"
        self._begun.append(self._slots.load(footprint, now))
        return None

    def _loads(self, now: float) -> Iterator[SlotLoad]:
        ripe = self._ripeness.ripe(now)
        if not self._waiting.any(Reach.HOSTED):
            return
        for sequence in ripe:
            digest = sequence.request.adapter or ""
            if self._where.reach(digest) is Reach.HOSTED:
                if (load := self._load(digest, now, self._spare(), drain=True)) is None:
                    return
                yield load
        self.sync()
        spare = self._spare()
        for digest in self._waiting.adapters(Reach.HOSTED, LOOKS_A_STEP):
            if not spare and not self._slots.free:
                return
            if (load := self._load(digest, now, spare, drain=False)) is not None:
                yield load
                spare = self._spare()

    def _load(self, digest: str, now: float, spare: list[Slot], drain: bool) -> SlotLoad | None:
        footprint = self._where.footprint(digest)
        if not self._evict_for(footprint, spare) and drain:
            self._drain_for(footprint)
        return self._slots.load(footprint, now) if self._slots.can_load(footprint) else None

    def _spare(self) -> list[Slot]:
        """Idle slots whose adapters nobody waits for, those worth least first."""
        spare = [slot for slot in self._slots.idle() if not self._waiting.waits_for(slot.digest)]
        return sorted(spare, key=lambda slot: (self._worth(slot), slot.last_use))

    def _worth(self, slot: Slot) -> float:
        return self._policy.worth(slot.digest, slot.pages, slot.bytes, slot.last_use)

    def _evict_for(self, footprint: AdapterFootprint, spare: list[Slot]) -> bool:
        """Evict spare slots until there is room; none when all of them would not be enough. Whether there is room."""
        if self._slots.can_load(footprint):
            return True
        chosen = self._slots.enough(footprint, spare) if spare else None
        for slot in chosen or ():
            self._slots.drain(slot)
        return chosen is not None

    def _drain_for(self, footprint: AdapterFootprint) -> None:
        """Drain what is needed beyond what drains already.

        A slot that is waited for is spared until it has served a request, else two adapters could evict each other
        for ever.
        """
        left = self._tokens_left()
        draining = self._slots.in_state(SlotState.DRAINING)
        ready = [slot for slot in self._slots.in_state(SlotState.READY) if not slot.pinned]
        victims = [slot for slot in ready if slot.served or not self._waiting.waits_for(slot.digest)]
        victims.sort(key=lambda slot: (left.get(slot.index, 0), self._worth(slot), slot.last_use))
        for slot in self._slots.enough(footprint, draining + victims) or ():
            if slot.state is SlotState.READY:
                self._slots.drain(slot)

    def _tokens_left(self) -> dict[int, int]:
        """Most tokens left to any row of each leased slot."""
        left: dict[int, int] = {}
        for sequence in self._rows.held:
            if sequence.slot is not None:
                left[sequence.slot] = max(left.get(sequence.slot, 0), sequence.left)
        return left
