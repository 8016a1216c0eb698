"""Where an adapter is, as far as requests for it are concerned."""

from enum import Enum, auto

from chorus_engine.core.load import SlotState
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.scheduler.slots import SlotTable


class Reach(Enum):
    READY = auto()  # in a slot, or the base model: its requests need a row alone
    HELD = auto()  # in a slot that loads or drains: there is nothing to do but to wait
    HOSTED = auto()  # in host memory: a slot is to be found
    COMING = auto()  # being fetched
    AWAY = auto()


class Whereabouts:
    """The slots' word, and a record of what host memory holds and what is being fetched for requests.

    An adapter that host memory holds and that fits no empty pool is refused: it is in nobody's reach.
    """

    def __init__(self, slots: SlotTable) -> None:
        self._slots = slots
        self._hosted: dict[str, AdapterFootprint] = {}
        self._coming: set[str] = set()
        self._refused: dict[str, str] = {}  # why it fits no empty pool

    def reach(self, digest: str | None) -> Reach:
        if digest is None:
            return Reach.READY
        if (slot := self._slots.get(digest)) is not None:
            return Reach.READY if slot.state is SlotState.READY else Reach.HELD
        if digest in self._hosted:
            return Reach.HOSTED
        return Reach.COMING if digest in self._coming else Reach.AWAY

    def is_hosted(self, digest: str) -> bool:
        return digest in self._hosted

    def footprint(self, digest: str) -> AdapterFootprint:
        """Of an adapter in host memory."""
        return self._hosted[digest]

    def refusal(self, digest: str) -> str | None:
        return self._refused.get(digest)

    def refused(self, digest: str, why: str) -> None:
        self._coming.discard(digest)
        self._refused[digest] = why

    def asked(self, digest: str) -> None:
        self._coming.add(digest)

    def fetched(self, footprint: AdapterFootprint) -> None:
        self._coming.discard(footprint.digest)
        self._hosted[footprint.digest] = footprint

    def failed(self, digest: str) -> None:
        self._coming.discard(digest)

    def evicted(self, digest: str) -> None:
        """Host memory holds it no more; what waits for it must have it fetched again."""
        self._hosted.pop(digest, None)
        self._refused.pop(digest, None)
