"""What the engine holds, slots and host memory taken together, and what of it changed."""

from collections.abc import Mapping
from typing import Protocol

from chorus_engine.core.load import Held, Hosted, HostMemory, Residency, SlotState, Tier


class Slots(Protocol):
    def get(self, digest: str) -> Residency | None: ...
    def take_changed(self) -> set[str]: ...


class Host(Protocol):
    def get(self, digest: str) -> Hosted | None: ...
    def take_changed(self) -> set[str]: ...
    def memory(self) -> HostMemory: ...


class Inventory:
    """On the loop's thread. A look costs by what changed, not by what is held."""

    def __init__(self, slots: Slots, host: Host) -> None:
        self._slots = slots
        self._host = host
        self.memory = host.memory()  # as of the last change

    def take_changes(self) -> Mapping[str, Held | None]:
        """Adapters that changed since the last call, as they are now; None is gone."""
        changed = self._slots.take_changed()
        if hosted := self._host.take_changed():
            self.memory = self._host.memory()
            changed |= hosted
        return {digest: self._held(digest) for digest in changed}

    def _held(self, digest: str) -> Held | None:
        slot, host = self._slots.get(digest), self._host.get(digest)
        fetching = host is not None and host.state == "fetching"
        host_pin = Tier.HOST if host is not None and host.pinned else None
        if slot is not None:
            return Held(
                digest,
                Tier.GPU,
                slot.state,
                slot.bytes,
                slot.pages,
                slot.leases,
                slot.last_use,
                pinned=Tier.GPU if slot.pinned else host_pin,
                hosted=host is not None and not fetching,
            )
        if host is not None:
            state = SlotState.LOADING if fetching else SlotState.READY
            return Held(
                digest, Tier.HOST, state, host.bytes, last_use=host.last_use, pinned=host_pin, hosted=not fetching
            )
        return None
