"""Who has a place in the engine, and which places are held back for whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MEMORY = 600.0  # seconds for which places are held back after the last sign that they are of use


@dataclass(frozen=True, slots=True)
class SeatPlan:
    """`limit` seats: the rows that run, and some more for requests that take over rows as they end.

    Of the rows, `reserved` are held back for the top band, and `kept` for tenants that have nothing in the engine.
    """

    limit: int
    rows: int
    reserved: int = 0
    kept: int = 0

    @classmethod
    def of(cls, rows: int, *, priority_share: float = 0.0, kept: int = 0) -> "SeatPlan":
        """Less is held back than asked for where it would be more than an eighth of the rows (kept) or all of them."""
        most_kept = min(kept, rows // 8)
        reserved = min(int(rows * priority_share), rows - 1 - most_kept)
        return cls(rows + max(2, rows // 8), rows, max(0, reserved), most_kept)


class Seats:
    """Every `take` has its `leave`.

    Nothing is held back from an engine that only one tenant uses, or for a top band that nobody asks for: rows are held
    back while there were several tenants, or requests of the top band, in the last minutes.
    """

    def __init__(
        self,
        plan: SeatPlan,
        clock: Callable[[], float] = time.monotonic,
        outside: Callable[[], int] = lambda: 0,
    ) -> None:
        """`outside`: requests that have taken a seat and do not need it yet, as they wait before the engine's door."""
        self._plan = plan
        self._outside = outside
        self._clock = clock
        self._taken: dict[str, tuple[str, bool, int]] = {}  # by request: tenant, whether of the top band, seats
        self._count = 0  # seats
        self._tenants: dict[str, int] = {}  # requests
        self._top = 0  # seats of the top band
        self._top_seen = self._others_seen = float("-inf")
        self._last_tenant: str | None = None

    def __len__(self) -> int:
        return max(0, self._count - self._outside())

    @property
    def common(self) -> int:
        """Rows that are held back for nobody, whoever comes."""
        return self._plan.rows - self._plan.reserved - self._plan.kept

    def see(self, tenant: str, *, top: bool) -> None:
        """A request of the tenant waits at a gateway, or comes."""
        now = self._clock()
        if top:
            self._top_seen = now
        if tenant != self._last_tenant:
            if self._last_tenant is not None:
                self._others_seen = now
            self._last_tenant = tenant

    def take(self, request: str, tenant: str, *, top: bool, seats: int = 1) -> None:
        """`seats`: rows that it runs in at once."""
        assert request not in self._taken
        self.see(tenant, top=top)
        self._taken[request] = (tenant, top, seats)
        self._count += seats
        self._tenants[tenant] = self._tenants.get(tenant, 0) + 1
        self._top += top * seats

    def leave(self, request: str) -> None:
        tenant, top, seats = self._taken.pop(request)
        self._count -= seats
        self._top -= top * seats
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]

    def limit(self, tenant: str, *, top: bool) -> int:
        """How many seats may be taken or promised when a request like this has got one too."""
        plan, since = self._plan, self._clock() - MEMORY
        held = 0
        if not top and self._top_seen > since:
            held += max(0, plan.reserved - self._top)
        if tenant in self._tenants and self._others_seen > since:
            held += plan.kept
        return plan.rows - held if held else plan.limit

    def check(self) -> None:
        """What is counted is what sits."""
        tenants = [tenant for tenant, _, _ in self._taken.values()]
        assert self._tenants == {tenant: tenants.count(tenant) for tenant in tenants}
        assert self._top == sum(top * seats for _, top, seats in self._taken.values())
        assert self._count == sum(seats for _, _, seats in self._taken.values())
