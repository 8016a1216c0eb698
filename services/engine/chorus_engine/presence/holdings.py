"""What the engine holds, from the snapshots of its two memories."""

from collections.abc import Iterable

from chorus_engine.core.load import Residency, SlotState
from chorus_engine.presence.records import Held


def merge(slots: Iterable[Residency], host: Iterable[tuple[str, float]], epoch: float) -> tuple[Held, ...]:
    """Adapters in slots, then those in host memory alone.

    `host`: (digest, last use); times are seconds on the monotonic clock, whose zero is `epoch` seconds since 1970.
    """
    held = {
        slot.digest: Held(slot.digest, slot.state, "gpu", slot.pages, slot.leases, _ms(slot.last_use + epoch))
        for slot in slots
    }
    for digest, last_use in host:
        if digest not in held:
            held[digest] = Held(digest, SlotState.READY, "host", 0, 0, _ms(last_use + epoch))
    return tuple(held.values())


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
