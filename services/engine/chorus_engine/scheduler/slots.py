"""The adapter slots: which adapter is where, who leases it, and what may give way.

gone ──load──▶ loading ──loaded──▶ ready ──drain──▶ draining ──last release──▶ gone
                                     └────────── evict (no leases) ──────────────┘
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.core.plan import ModulePages, SlotLoad
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler.pages import PagePools


@dataclass(slots=True, eq=False)
class Slot:
    index: int
    digest: str
    modules: tuple[ModulePages, ...]
    last_use: float
    state: SlotState = SlotState.LOADING
    leases: int = 0
    served: bool = False  # has had a lease

    @property
    def idle(self) -> bool:
        return self.state is SlotState.READY and not self.leases


class SlotTable:
    def __init__(self, total: int, pages: PagePools) -> None:
        self.total = total
        self.loads = 0
        self.evictions = 0
        self._pages = pages
        self._free = list(range(total - 1, -1, -1))
        self._by_digest: dict[str, Slot] = {}
        self._by_index: dict[int, Slot] = {}

    def get(self, digest: str) -> Slot | None:
        return self._by_digest.get(digest)

    def is_ready(self, digest: str) -> bool:
        slot = self._by_digest.get(digest)
        return slot is not None and slot.state is SlotState.READY

    def is_loading(self) -> bool:
        return any(slot.state is SlotState.LOADING for slot in self._by_index.values())

    def idle(self) -> list[Slot]:
        """Least recently used first."""
        return sorted((slot for slot in self._by_index.values() if slot.idle), key=lambda slot: slot.last_use)

    def in_state(self, state: SlotState) -> list[Slot]:
        return [slot for slot in self._by_index.values() if slot.state is state]

    def can_load(self, footprint: AdapterFootprint) -> bool:
        return bool(self._free) and self._pages.fits(footprint)

    def load(self, footprint: AdapterFootprint, now: float) -> SlotLoad:
        """Give the adapter a slot and pages. The caller has asked `can_load`; the runner copies and reports."""
        assert self._free, f"no slot for adapter {footprint.digest}"
        assert footprint.digest not in self._by_digest, f"adapter {footprint.digest} is resident already"
        slot = Slot(self._free.pop(), footprint.digest, self._pages.allocate(footprint), last_use=now)
        self._by_digest[slot.digest] = self._by_index[slot.index] = slot
        self.loads += 1
        return SlotLoad(slot.index, slot.digest, slot.modules)

    def loaded(self, index: int) -> None:
        slot = self._by_index[index]
        assert slot.state is SlotState.LOADING, f"slot {index} was {slot.state} when its load ended"
        slot.state = SlotState.READY

    def lease(self, digest: str, now: float) -> int:
        """One more row uses the adapter; its slot stays until as many releases."""
        slot = self._by_digest[digest]
        assert slot.state is SlotState.READY, f"a lease on slot {slot.index}, which is {slot.state}"
        slot.leases += 1
        slot.served = True
        slot.last_use = now
        return slot.index

    def release(self, index: int, now: float) -> None:
        slot = self._by_index[index]
        assert slot.leases > 0, f"slot {index} has no lease to release"
        slot.leases -= 1
        slot.last_use = now
        if slot.state is SlotState.DRAINING and not slot.leases:
            self._remove(slot)

    def drain(self, slot: Slot) -> None:
        """No further leases; gone with the last one, at once when there is none."""
        assert slot.state is SlotState.READY, f"drain of slot {slot.index}, which is {slot.state}"
        slot.state = SlotState.DRAINING
        if not slot.leases:
            self._remove(slot)

    def enough(self, footprint: AdapterFootprint, candidates: Iterable[Slot]) -> list[Slot] | None:
        """The first of `candidates` whose end makes room for the adapter; None when all of them are not enough."""
        missing = self._pages.missing(footprint)
        need_index = not self._free
        chosen: list[Slot] = []
        for slot in candidates:
            if not missing and not need_index:
                break
            gives = {(module.layer, module.module): len(module.pages) for module in slot.modules}
            if not need_index and missing.keys().isdisjoint(gives):
                continue
            chosen.append(slot)
            need_index = False
            missing = {pool: lack - gives.get(pool, 0) for pool, lack in missing.items() if lack > gives.get(pool, 0)}
        return None if missing or need_index else chosen

    def residency(self) -> tuple[Residency, ...]:
        return tuple(
            Residency(slot.digest, slot.state, sum(len(m.pages) for m in slot.modules), slot.leases, slot.last_use)
            for slot in self._by_index.values()
        )

    def _remove(self, slot: Slot) -> None:
        self._pages.release(slot.modules)
        del self._by_digest[slot.digest], self._by_index[slot.index]
        self._free.append(slot.index)
        self.evictions += 1

    def check(self, leases: Mapping[int, int]) -> None:
        """Slots and pages are conserved, and `leases` (slot -> rows that use it) is what the slots say."""
        assert len(self._free) + len(self._by_index) == self.total
        assert set(self._free).isdisjoint(self._by_index)
        assert {slot.index for slot in self._by_digest.values()} == set(self._by_index)
        assert {slot.index: slot.leases for slot in self._by_index.values() if slot.leases} == dict(leases)
        for slot in self._by_index.values():
            assert slot.state is not SlotState.LOADING or not slot.leases
            assert slot.state is not SlotState.DRAINING or slot.leases
        self._pages.check(module for slot in self._by_index.values() for module in slot.modules)
