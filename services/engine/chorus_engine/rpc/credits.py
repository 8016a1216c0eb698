"""Credits: which stream may submit next."""

from dataclasses import dataclass

from chorus_engine.core.request import Band
from chorus_engine.rpc.seats import Seats

BAND_PATIENCE = 16
STANDING = 16  # credits, at most, that a stream holds although nothing waits at its gateway


@dataclass(frozen=True, slots=True)
class Head:
    """What waits at a gateway: how many, and the first of them."""

    waiting: int
    band: Band = Band.FLEX
    counter: float = 0.0  # virtual token counter of its tenant
    tenant: str = ""
    stride: float = 0.0  # by how much one request is expected to let the counter grow
    aged: bool = False  # its band has been passed over too often at its gateway
    alike: int = 1  # of those that wait, the same tenant's

    @property
    def top(self) -> bool:
        return self.band is Band.PRIORITY


_NOTHING = Head(0)


class CreditLedger:
    """A credit is granted while requests in the engine and credits outstanding are below the limit that its `seats`
    have for the request that it is for.

    Free credits go one by one to the stream whose head is lowest, each with what it holds already counted as if sent,
    so that the order among tenants is one order over all gateways, however fast seats become free. While several
    streams wait, one holds no more unspent credits than it has requests like its head. A band that was passed over
    `patience` times for higher ones while it could have had the seat goes first once.

    While most seats that are held back for nobody are free, each stream holds some credits although nothing waits at
    its gateway: there is no order to be kept, and a request need not ask for a credit first.
    """

    def __init__(self, seats: Seats, *, patience: int = BAND_PATIENCE, standing: int = 0) -> None:
        """`standing`: most credits that a stream may hold although nothing waits."""
        self.seats = seats
        self.standing = 0  # as it is now
        self._most_standing = standing
        self._patience = patience
        self._heads: dict[int, Head] = {}  # by stream
        self._held: dict[int, int] = {}  # unspent credits by stream
        self._raised: dict[int, int] = {}  # of those, the ones granted because a band had been passed over
        self._passed = dict.fromkeys(Band, 0)

    @property
    def outstanding(self) -> int:
        return sum(self._held.values())

    def open(self, stream: int) -> None:
        self._heads[stream] = _NOTHING
        self._held[stream] = self._raised[stream] = 0

    def close(self, stream: int) -> None:
        """Its unspent credits are free again."""
        del self._heads[stream], self._held[stream], self._raised[stream]

    def advertise(self, stream: int, head: Head) -> None:
        self._heads[stream] = head
        if head.waiting:
            self.seats.see(head.tenant, top=head.top)

    def give_back(self, stream: int, count: int) -> None:
        """More than are held are taken as all."""
        self._held[stream] -= min(count, self._held[stream])
        self._raised[stream] = min(self._raised[stream], self._held[stream])

    def spend(self, stream: int) -> bool:
        """False when the stream holds none. Its head stands until it shows another."""
        if not self._held[stream]:
            return False
        self._held[stream] -= 1
        return True

    def spend_raised(self, stream: int) -> bool:
        """Whether what was spent on a request below the top band lets it go before what waits in the engine."""
        raised = self._raised[stream] > 0
        self._raised[stream] -= raised
        return raised

    def grant(self) -> dict[int, int]:
        """New credits by stream."""
        granted: dict[int, int] = {}
        promised = len(self.seats) + self.outstanding
        while (stream := self._next(promised)) is not None:
            self._held[stream] += 1
            promised += 1
            granted[stream] = granted.get(stream, 0) + 1
        return granted

    def stand(self) -> dict[int, int]:
        """New credits by stream, for requests to come. Asked after `grant`."""
        granted: dict[int, int] = {}
        for stream, head in self._heads.items():
            missing = 0 if head.waiting else self.standing - self._held[stream]
            if missing > 0:
                self._held[stream] += missing
                granted[stream] = missing
        return granted

    def review(self, *, full: bool = False) -> bool:
        """Whether `standing` is another now. `full`: the engine has no room for requests, whatever its seats."""
        common, taken, before = self.seats.common, len(self.seats), self.standing
        waits = any(head.waiting > self._held[stream] for stream, head in self._heads.items())
        if full or waits or taken > common // 2:
            self.standing = 0
        elif taken <= common // 4:
            self.standing = min(self._most_standing, common // 4 // max(1, len(self._heads)))
        return self.standing != before

    def _next(self, promised: int) -> int | None:
        several = sum(head.waiting > 0 for head in self._heads.values()) > 1
        best: tuple[tuple[int, float], int] | None = None
        bands: set[Band] = set()
        for stream, head in self._heads.items():
            held = self._held[stream]
            if held >= (min(head.waiting, head.alike) if several else head.waiting):
                continue
            if promised >= self.seats.limit(head.tenant, top=head.top):
                continue
            bands.add(head.band)
            rank = (self._rank(head, held), stream)
            if best is None or rank < best:
                best = rank
        if best is None:
            return None
        self._pass_over(best[1], bands)
        return best[1]

    def _rank(self, head: Head, held: int) -> tuple[int, float]:
        """Of its stream when that holds `held` credits already. The lowest goes first."""
        raised = head.aged or self._passed[head.band] >= self._patience
        return 0 if raised else head.band, head.counter + held * head.stride

    def _pass_over(self, stream: int, bands: set[Band]) -> None:
        """`bands` could have had the seat that the stream gets."""
        band = self._heads[stream].band
        self._raised[stream] += self._passed[band] >= self._patience
        self._passed[band] = 0
        for other in bands:
            self._passed[other] += other > band
