"""What the engine holds, as its loop told last: answered from here, the loop is never asked."""

from collections.abc import Mapping

from chorus_engine.core.load import Held, HostMemory, SlotState, Tier
from chorus_engine.presence.records import Room


class Holdings:
    """Written on the event loop; may be read from other threads."""

    def __init__(self, slots: int, pool_bytes: int, host: HostMemory) -> None:
        self._slots = slots
        self._pool_bytes = pool_bytes
        self._host = host
        self._held: dict[str, Held] = {}

    def take(self, changes: Mapping[str, Held | None], host: HostMemory) -> None:
        self._host = host
        for digest, held in changes.items():
            if held is None:
                self._held.pop(digest, None)
            else:
                self._held[digest] = held

    @property
    def host(self) -> HostMemory:
        return self._host

    def get(self, digest: str) -> Held | None:
        return self._held.get(digest)

    def all(self) -> tuple[Held, ...]:
        return tuple(self._held.values())

    def in_tier(self, tier: Tier) -> tuple[Held, ...]:
        """Adapters that are there by now, also those that are in a nearer tier as well."""
        if tier is Tier.GPU:
            return tuple(held for held in self.all() if held.tier is Tier.GPU)
        return tuple(held for held in self.all() if held.hosted)

    def pinned(self, tier: Tier) -> int:
        return sum(held.pinned is tier for held in self.all())

    def room(self) -> Room:
        """Slots that requests wait for count as free like other idle ones: those requests are about to lease them."""
        slots = self.in_tier(Tier.GPU)
        busy = [held for held in slots if held.leases or held.pinned is Tier.GPU or held.state is SlotState.LOADING]
        pinnable = self._pool_bytes // 2
        return Room(
            slots=self._slots,
            slots_free=self._slots - len(busy),
            pool_bytes=self._pool_bytes,
            pool_bytes_free=max(0, self._pool_bytes - sum(held.bytes for held in busy)),
            host_bytes=self._host.total,
            host_bytes_free=self._host.available,
            pin_bytes=pinnable,
            pin_bytes_free=max(0, pinnable - sum(held.bytes for held in slots if held.pinned is Tier.GPU)),
        )
