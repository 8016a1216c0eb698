"""Which adapters to fetch into the host's memory, and which to load into slots, for the requests that wait."""

from collections.abc import Iterator
from itertools import islice

from chorus_engine.core.load import SlotState
from chorus_engine.core.plan import SlotLoad
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler.rows import RowTable
from chorus_engine.scheduler.sequence import Sequence
from chorus_engine.scheduler.slots import Slot, SlotTable
from chorus_engine.scheduler.waiting import WaitingQueue

LOADS_A_STEP = 2  # planning one of hundreds of modules takes a part of a millisecond; the next step goes on


class Placement:
    """Adapters are placed in the order of their first waiting requests, and none waits for another's turn.

    Idle slots give way, least recently used first, unless their adapter is waited for too. A request that has waited
    past its patience is ripe: its adapter goes first, nothing is loaded after it until it has room, and as many slots
    as it needs are drained, those first whose requests have the fewest tokens left.
    """

    def __init__(self, slots: SlotTable, waiting: WaitingQueue, rows: RowTable, patience: float) -> None:
        self._slots = slots
        self._waiting = waiting
        self._rows = rows
        self._patience = patience  # seconds
        self._hosted: dict[str, AdapterFootprint] = {}  # what the host's memory holds
        self._asked: set[str] = set()  # being fetched

    def wanted(self) -> tuple[str, ...]:
        """Adapters to fetch, the first needed first; each is named once until its fetch ends or the host evicts it."""
        fetch = tuple(
            digest for digest, _ in self._homeless() if digest not in self._hosted and digest not in self._asked
        )
        self._asked.update(fetch)
        return fetch

    def fetched(self, footprint: AdapterFootprint) -> None:
        self._asked.discard(footprint.digest)
        self._hosted[footprint.digest] = footprint

    def failed(self, digest: str) -> None:
        self._asked.discard(digest)

    def evicted(self, digest: str) -> None:
        """The host's memory holds the adapter no more; what waits for it must have it fetched again."""
        self._hosted.pop(digest, None)

    def is_ready(self, digest: str | None) -> bool:
        return digest is None or self._slots.is_ready(digest)

    def place(self, now: float) -> tuple[SlotLoad, ...]:
        """Loads to begin in this step."""
        return tuple(islice(self._loads(now), LOADS_A_STEP))

    def _loads(self, now: float) -> Iterator[SlotLoad]:
        heads = [head for digest, head in self._homeless() if digest in self._hosted]
        ripe = sorted((head for head in heads if self._is_ripe(head, now)), key=lambda head: head.request.arrival)
        spare = self._spare()
        for head in ripe:
            if (load := self._load(head, now, spare, drain=True)) is None:
                return
            yield load
            spare = self._spare()
        rest = set(heads).difference(ripe)
        for head in heads:
            if head in rest and (load := self._load(head, now, spare, drain=False)) is not None:
                yield load
                spare = self._spare()

    def _homeless(self) -> list[tuple[str, Sequence]]:
        """Adapters without a slot and the first request that waits for each, in order."""
        return [(digest, head) for digest, head in self._waiting.heads() if self._slots.get(digest) is None]

    def _load(self, sequence: Sequence, now: float, spare: list[Slot], drain: bool) -> SlotLoad | None:
        footprint = self._hosted[sequence.request.adapter or ""]
        self._evict_for(footprint, spare)
        if drain and not self._slots.can_load(footprint):
            self._drain_for(footprint)
        return self._slots.load(footprint, now) if self._slots.can_load(footprint) else None

    def _is_ripe(self, sequence: Sequence, now: float) -> bool:
        request = sequence.request
        patience = self._patience
        if request.deadline is not None:  # early enough that a slot may drain before the deadline
            patience = min(patience, (request.deadline - request.arrival) / 2)
        return now - request.arrival >= patience

    def _spare(self) -> list[Slot]:
        """Idle slots whose adapters nobody waits for, least recently used first."""
        return [slot for slot in self._slots.idle() if not self._waiting.waits_for(slot.digest)]

    def _evict_for(self, footprint: AdapterFootprint, spare: list[Slot]) -> None:
        """Evict spare slots until there is room; none when all of them would not be enough."""
        if not spare or self._slots.can_load(footprint):
            return
        for slot in self._slots.enough(footprint, spare) or ():
            self._slots.drain(slot)

    def _drain_for(self, footprint: AdapterFootprint) -> None:
        """Drain what is needed beyond what drains already.

        A slot that is waited for is spared until it has served a request, else two adapters could evict each other
        for ever.
        """
        left = self._tokens_left()
        draining = self._slots.in_state(SlotState.DRAINING)
        ready = self._slots.in_state(SlotState.READY)
        victims = [slot for slot in ready if slot.served or not self._waiting.waits_for(slot.digest)]
        victims.sort(key=lambda slot: (left.get(slot.index, 0), slot.last_use))
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
