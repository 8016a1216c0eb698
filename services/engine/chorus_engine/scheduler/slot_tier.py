"""What may be asked of the adapter slots, beside what requests need."""

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.scheduler.placement import Placement
from chorus_engine.scheduler.slots import Slot, SlotTable
from chorus_engine.scheduler.whereabouts import Whereabouts


class SlotTier:
    """Each call is done at once. Answers of `str | None`: None is yes, else why not, in words that end a sentence."""

    def __init__(self, slots: SlotTable, where: Whereabouts, placement: Placement) -> None:
        self._slots = slots
        self._where = where
        self._placement = placement

    def get(self, digest: str) -> Residency | None:
        slot = self._slots.get(digest)
        return None if slot is None else slot.residency

    def serial(self, digest: str) -> int | None:
        """Names the adapter's stay in a slot; None when it is in none."""
        slot = self._slots.get(digest)
        return None if slot is None else slot.serial

    def is_hosted(self, digest: str) -> bool:
        """Whether host memory has it, so that it can be loaded."""
        return self._where.is_hosted(digest)

    def refusal(self, digest: str) -> str | None:
        """Why the adapter, which host memory has, fits no empty pool."""
        return self._where.refusal(digest)

    def unpinnable(self, digest: str) -> str | None:
        """Why an adapter that `is_hosted` may not be pinned to a slot."""
        return self._slots.unpinnable(self._where.footprint(digest))

    def prefetch(self, digest: str, now: float, *, pin: bool) -> str | None:
        """Begin to load an adapter that `is_hosted` and is in no slot. It loses against what requests wait for, and
        only slots worth less give way to it; for what is to be pinned, every slot that is idle.
        """
        return self._placement.prefetch(digest, now, pin=pin)

    def pin(self, digest: str) -> str | None:
        """Keep an adapter whose slot is ready."""
        slot = self._ready(digest)
        if not slot.pinned:
            if (refusal := self._slots.unpinnable(slot)) is not None:
                return refusal
            self._slots.pin(slot)
        return None

    def unpin(self, digest: str) -> None:
        self._slots.unpin(digest)

    def drain(self, digest: str) -> str | None:
        """A slot that is ready takes no further requests and is gone with those that it has."""
        slot = self._ready(digest)
        if slot.pinned:
            return "it is pinned; unpin it first"
        self._slots.drain(slot)
        self._placement.sync()
        return None

    def take_changed(self) -> set[str]:
        """Adapters whose residency may have changed since the last call."""
        return self._slots.take_changed()

    def _ready(self, digest: str) -> Slot:
        slot = self._slots.get(digest)
        assert slot is not None
        assert slot.state is SlotState.READY, f"slot {slot.index} is {slot.state}"
        return slot
