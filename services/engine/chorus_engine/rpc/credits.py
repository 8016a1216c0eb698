"""Credits: which stream may submit next."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
    """What waits at a gateway. `rank` orders heads of all streams; the lowest goes first."""

    waiting: int
    rank: tuple[int, float]  # (band, virtual token counter)


_NOTHING = Head(0, (0, 0.0))


class CreditLedger:
    """A credit is granted while requests in the engine and credits outstanding are below `limit`.

    Free credits go one by one to the stream whose head is lowest. While several streams wait, each holds at most one
    unspent credit: the next one is granted on the head that it shows then, so that the order among tenants is one order
    over all gateways.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heads: dict[int, Head] = {}  # by stream
        self._held: dict[int, int] = {}  # unspent credits by stream

    @property
    def outstanding(self) -> int:
        return sum(self._held.values())

    def open(self, stream: int) -> None:
        self._heads[stream] = _NOTHING
        self._held[stream] = 0

    def close(self, stream: int) -> None:
        """Its unspent credits are free again."""
        del self._heads[stream], self._held[stream]

    def advertise(self, stream: int, head: Head) -> None:
        self._heads[stream] = head

    def give_back(self, stream: int, count: int) -> None:
        """More than are held are taken as all."""
        self._held[stream] -= min(count, self._held[stream])

    def spend(self, stream: int) -> bool:
        """False when the stream holds none. Its head stands until it shows another."""
        if not self._held[stream]:
            return False
        self._held[stream] -= 1
        return True

    def grant(self, in_engine: int) -> dict[int, int]:
        """New credits by stream, with `in_engine` requests accepted and not ended."""
        granted: dict[int, int] = {}
        for _ in range(self._limit - in_engine - self.outstanding):
            stream = self._next()
            if stream is None:
                break
            self._held[stream] += 1
            granted[stream] = granted.get(stream, 0) + 1
        return granted

    def _next(self) -> int | None:
        wanting = [stream for stream, head in self._heads.items() if head.waiting > self._held[stream]]
        waiting = sum(head.waiting > 0 for head in self._heads.values())
        if waiting > 1:
            wanting = [stream for stream in wanting if not self._held[stream]]
        return min(wanting, key=lambda stream: (self._heads[stream].rank, stream), default=None)
