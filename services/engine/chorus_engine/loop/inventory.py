"""What the engine holds, slots and host memory taken together, and what of it changed."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from chorus_engine.core.load import Held, Hosted, HostMemory, Residency, SlotState, Tier


class Slots(Protocol):
    def get(self, digest: str) -> Residency | None: ...
    def take_changed(self) -> set[str]: ...


class Host(Protocol):
    @property
    def version(self) -> int:
        """Grows with each change of what `states` says."""

    def states(self) -> Iterable[Hosted]: ...
    def memory(self) -> HostMemory: ...


class Inventory:
    """On the loop's thread. While nothing changes, a look costs two comparisons."""

    def __init__(self, slots: Slots, host: Host) -> None:
        self._slots = slots
        self._host = host
        self._version = -1
        self._hosted: dict[str, Hosted] = {}
        self.memory = host.memory()  # as of the last change

    def take_changes(self) -> Mapping[str, Held | None]:
        """Adapters that changed since the last call, as they are now; None is gone."""
        changed = self._slots.take_changed()
        if self._host.version != self._version:
            self._version = self._host.version
            self.memory = self._host.memory()
            hosted = {each.digest: each for each in self._host.states()}
            changed |= self._hosted.keys() - hosted.keys()
            changed.update(digest for digest, each in hosted.items() if self._hosted.get(digest) != each)
            self._hosted = hosted
        return {digest: self._held(digest) for digest in changed}

    def _held(self, digest: str) -> Held | None:
        slot, host = self._slots.get(digest), self._hosted.get(digest)
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
