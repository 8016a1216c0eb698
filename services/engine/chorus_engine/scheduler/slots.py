"""The adapter slots: which adapter is where, who leases it, and what may give way.

gone ──load──▶ loading ──loaded──▶ ready ──drain──▶ draining ──last release──▶ gone
                                     └────────── evict (no leases) ──────────────┘

A pinned slot is neither drained nor evicted. Pins take at most half of the slots and of each pool's pages, and always
leave room for the largest adapter, so that whatever waits for a slot gets one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.core.plan import ModulePages, SlotLoad
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler.pages import PagePools, PoolKey


@dataclass(slots=True, eq=False)
class Slot:
    index: int
    digest: str
    modules: tuple[ModulePages, ...]
    pages: int  # over all modules
    bytes: int
    last_use: float
    state: SlotState = SlotState.LOADING
    leases: int = 0
    served: bool = False  # has had a lease
    serial: int = 0  # of its load, so that a later stay of the adapter is another one
    pinned: bool = False

    @property
    def idle(self) -> bool:
        return self.state is SlotState.READY and not self.leases

    @property
    def residency(self) -> Residency:
        return Residency(self.digest, self.state, self.pages, self.leases, self.last_use, self.bytes, self.pinned)


class SlotTable:
    def __init__(self, total: int, pages: PagePools) -> None:
        self.total = total
        self.loads = 0
        self.evictions = 0
        self._pages = pages
        self._free = list(range(total - 1, -1, -1))
        self._by_digest: dict[str, Slot] = {}
        self._by_index: dict[int, Slot] = {}
        self.loading = 0  # slots that load
        self._moved: set[str] = set()
        self._changed: set[str] = set()

    @property
    def free(self) -> int:
        """Slots that hold nothing."""
        return len(self._free)

    def get(self, digest: str) -> Slot | None:
        return self._by_digest.get(digest)

    def is_ready(self, digest: str) -> bool:
        slot = self._by_digest.get(digest)
        return slot is not None and slot.state is SlotState.READY

    def is_loading(self, digest: str) -> bool:
        slot = self._by_digest.get(digest)
        return slot is not None and slot.state is SlotState.LOADING

    def idle(self) -> list[Slot]:
        """Without leases and not pinned, in no order."""
        return [slot for slot in self._by_index.values() if slot.idle and not slot.pinned]

    def in_state(self, state: SlotState) -> list[Slot]:
        return [slot for slot in self._by_index.values() if slot.state is state]

    def pages(self, footprint: AdapterFootprint) -> int:
        """Over all pools, what the adapter takes."""
        return sum(count for _, count in self._pages.needs(footprint))

    def can_load(self, footprint: AdapterFootprint) -> bool:
        return bool(self._free) and self._pages.fits(footprint)

    def load(self, footprint: AdapterFootprint, now: float) -> SlotLoad:
        """Give the adapter a slot and pages. The caller has asked `can_load`; the runner copies and reports."""
        assert self._free, f"no slot for adapter {footprint.digest}"
        assert footprint.digest not in self._by_digest, f"adapter {footprint.digest} is resident already"
        modules = self._pages.allocate(footprint)
        pages = sum(len(module.pages) for module in modules)
        slot = Slot(
            self._free.pop(), footprint.digest, modules, pages, footprint.bytes, last_use=now, serial=self.loads
        )
        self._by_digest[slot.digest] = self._by_index[slot.index] = slot
        self.loads += 1
        self.loading += 1
        self._moved.add(slot.digest)
        return SlotLoad(slot.index, slot.digest, slot.modules)

    def loaded(self, index: int) -> None:
        slot = self._by_index[index]
        assert slot.state is SlotState.LOADING, f"slot {index} was {slot.state} when its load ended"
        slot.state = SlotState.READY
        self.loading -= 1
        self._moved.add(slot.digest)

    def lease(self, digest: str, now: float) -> int:
        """One more row uses the adapter; its slot stays until as many releases."""
        slot = self._by_digest[digest]
        assert slot.state is SlotState.READY, f"a lease on slot {slot.index}, which is {slot.state}"
        slot.leases += 1
        slot.served = True
        slot.last_use = now
        self._changed.add(digest)
        return slot.index

    def release(self, index: int, now: float) -> None:
        slot = self._by_index[index]
        assert slot.leases > 0, f"slot {index} has no lease to release"
        slot.leases -= 1
        slot.last_use = now
        self._changed.add(slot.digest)
        if slot.state is SlotState.DRAINING and not slot.leases:
            self._remove(slot)

    def drain(self, slot: Slot) -> None:
        """No further leases; gone with the last one, at once when there is none."""
        assert slot.state is SlotState.READY, f"drain of slot {slot.index}, which is {slot.state}"
        assert not slot.pinned, f"drain of slot {slot.index}, which is pinned"
        slot.state = SlotState.DRAINING
        self._moved.add(slot.digest)
        if not slot.leases:
            self._remove(slot)

    def pin(self, slot: Slot) -> None:
        """The caller has asked `unpinnable`."""
        assert slot.state is SlotState.READY, f"pin of slot {slot.index}, which is {slot.state}"
        slot.pinned = True
        self._changed.add(slot.digest)

    def unpin(self, digest: str) -> None:
        """Adapters that are not pinned, or not here, are left as they are."""
        slot = self._by_digest.get(digest)
        if slot is not None and slot.pinned:
            slot.pinned = False
            self._changed.add(digest)

    def unpinnable(self, adapter: AdapterFootprint | Slot) -> str | None:
        """Why one more adapter may not be pinned, with the numbers; None when it may."""
        pinned = self._pinned()
        if len(pinned) >= self.total // 2:
            return f"{len(pinned)} of {self.total} slots are pinned, and at most half may be"
        taken = _pages_of(pinned)
        needs = _pages_of([adapter]).items() if isinstance(adapter, Slot) else self._pages.needs(adapter)
        for pool, count in needs:
            pages, most = taken.get(pool, 0) + count, self._pages.pinnable(pool)
            if pages > most:
                size = self._pages.size(pool)
                return f"{pages} of {size} pages of {pool[1]} would be pinned, and at most {most} may be"
        return None

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
        return tuple(slot.residency for slot in self._by_index.values())

    def take_moved(self) -> set[str]:
        """Adapters whose slots came, went or changed their state since the last call."""
        moved, self._moved = self._moved, set()
        self._changed |= moved
        return moved

    def take_changed(self) -> set[str]:
        """Adapters whose residency may have changed in any way since the last call."""
        changed, self._changed = self._changed | self._moved, set()
        return changed

    def _remove(self, slot: Slot) -> None:
        self._pages.release(slot.modules)
        del self._by_digest[slot.digest], self._by_index[slot.index]
        self._free.append(slot.index)
        self._moved.add(slot.digest)
        self.evictions += 1

    def _pinned(self) -> list[Slot]:
        return [slot for slot in self._by_index.values() if slot.pinned]

    def check(self, leases: Mapping[int, int]) -> None:
        """Slots and pages are conserved, and `leases` (slot -> rows that use it) is what the slots say."""
        assert len(self._free) + len(self._by_index) == self.total
        assert set(self._free).isdisjoint(self._by_index)
        assert {slot.index for slot in self._by_digest.values()} == set(self._by_index)
        assert {slot.index: slot.leases for slot in self._by_index.values() if slot.leases} == dict(leases)
        assert self.loading == len(self.in_state(SlotState.LOADING))
        for slot in self._by_index.values():
            assert slot.state is not SlotState.LOADING or not slot.leases
            assert slot.state is not SlotState.DRAINING or slot.leases
            assert slot.state is SlotState.READY or not slot.pinned
        self._pages.check(module for slot in self._by_index.values() for module in slot.modules)
        assert len(self._pinned()) <= self.total // 2
        assert all(pages <= self._pages.pinnable(pool) for pool, pages in _pages_of(self._pinned()).items())


def _pages_of(slots: Iterable[Slot]) -> dict[PoolKey, int]:
    taken: dict[PoolKey, int] = {}
    for slot in slots:
        for module in slot.modules:
            pool = (module.layer, module.module)
            taken[pool] = taken.get(pool, 0) + len(module.pages)
    return taken
