"""Virtual token counters of one band's tenants: as far as all gateway workers agree, and what was served here since."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_NOTHING = 1e-6  # what is left of an amount that was taken away piece by piece
AHEAD = 1.0  # weighted tokens by which who returns is before the one that it is level with
_MANY = 10_000  # from here on, counters that say nothing are forgotten


@dataclass(frozen=True, slots=True)
class Entry:
    """What one worker tells the others of a tenant."""

    delta: float = 0.0  # served here and not told yet
    known: float = 0.0  # the counter that was agreed on last, or that it had here before the first time
    returned: bool = False  # it began to wait here
    waits: bool = False  # it still does


@dataclass(frozen=True, slots=True)
class Agreed:
    """What all workers together say."""

    counters: Mapping[str, float]  # of the tenants asked for
    lowest: float | None  # of the tenants that wait at other workers
    served: float  # counter of the tenant served last anywhere


@dataclass(slots=True)
class Counters:
    """`values` is what order goes by; a value never falls.

    What is charged here is told to the others in batches: `take`, then `agree` or, when nobody answered, `take` again
    for the same batch. A tenant that begins to wait is lifted to what was served to the lowest of those who wait
    anywhere, and goes before that one: it has been served less lately.
    """

    values: dict[str, float] = field(default_factory=dict)
    served: float = 0.0  # counter of the tenant served last
    elsewhere: float | None = None  # what was served to the lowest who waits at other workers, as they said last
    shared: bool = False  # whether anybody ever takes what is to be told
    _untold: dict[str, float] = field(default_factory=dict)
    _owed: dict[str, float] = field(default_factory=dict)  # charged too much
    prepaid: dict[str, float] = field(default_factory=dict)  # charged in advance and not served yet
    _returned: set[str] = field(default_factory=set)
    _batch: dict[str, Entry] = field(default_factory=dict)  # told, and not answered yet

    def charge(self, tenant: str, amount: float) -> None:
        """Tokens, weighted as input or output and divided by the tenant's weight."""
        if tenant in self._owed:
            amount = self._set_off(tenant, amount)
        self.values[tenant] = self.values.get(tenant, self.served) + amount
        if self.shared:
            self._untold[tenant] = self._untold.get(tenant, 0.0) + amount

    def prepay(self, tenant: str, amount: float) -> None:
        """Charged before it is served."""
        self.charge(tenant, amount)
        self.prepaid[tenant] = self.prepaid.get(tenant, 0.0) + amount

    def deliver(self, tenant: str, amount: float) -> None:
        """So much of what was prepaid has been served now."""
        # Amounts are fractions: of one that was taken away piece by piece a crumb may be left after the last of all.
        left = self.prepaid.get(tenant, 0.0) - amount
        if left > _NOTHING:
            self.prepaid[tenant] = left
        else:
            self.prepaid.pop(tenant, None)

    def give_back(self, tenant: str, amount: float) -> None:
        """So much of what was prepaid will not be served. It is set off against what is charged next, as values never
        fall."""
        self.deliver(tenant, amount)
        self._owed[tenant] = self._owed.get(tenant, 0.0) + amount

    def served_to(self, tenant: str) -> float:
        """Its value without what is prepaid here."""
        return self.values[tenant] - self.prepaid.get(tenant, 0.0)

    def lift(self, tenant: str, lowest: float | None) -> None:
        """It begins to wait here; `lowest` is what was served to the lowest of the others who do."""
        floor = min((each for each in (lowest, self.elsewhere) if each is not None), default=self.served) - AHEAD
        value = self.values[tenant] = max(self.values.get(tenant, 0.0), floor, 0.0)
        if tenant in self._owed:
            self._owed[tenant] = min(self._owed[tenant], value - floor)
        if self.shared:
            self._returned.add(tenant)

    @property
    def unsettled(self) -> bool:
        """Whether the others have something to hear."""
        return bool(self._untold or self._returned or self._batch)

    def take(self, also: Sequence[str], most: int) -> Mapping[str, Entry]:
        """At most `most` tenants, first those with news; `also`: those that wait here. What was taken and not answered
        is taken again as it was."""
        if not self._batch:
            tenants, waiting = list(dict.fromkeys((*self._untold, *self._returned)))[:most], set(also)
            self._batch = {tenant: self._entry(tenant, waits=tenant in waiting) for tenant in tenants}
        batch = dict(self._batch)
        for tenant in also:
            if len(batch) >= most:
                break
            batch.setdefault(tenant, Entry(known=self.values[tenant] - self._untold.get(tenant, 0.0), waits=True))
        return batch

    def agree(self, agreed: Agreed) -> None:
        """The answer to what was taken last."""
        self._batch = {}
        self.elsewhere, self.served = agreed.lowest, max(self.served, agreed.served)
        for tenant, counter in agreed.counters.items():
            current = counter + self._untold.get(tenant, 0.0)
            if current > self.values.get(tenant, 0.0):
                self.values[tenant] = current

    def alone(self) -> None:
        """Nobody answers: what others said of who waits there is true no more."""
        self.elsewhere = None

    def lowest(self, waiting: Iterable[str]) -> float | None:
        """Of those who wait here, but for who has just begun to: what lifts those is what the others have."""
        new = {*self._returned, *(tenant for tenant, entry in self._batch.items() if entry.returned)}
        return min((self.served_to(tenant) for tenant in waiting if tenant not in new), default=None)

    def forget(self, lowest: float, waiting: Iterable[str]) -> None:
        """A counter that a return would lift anyway says nothing."""
        if len(self.values) <= _MANY:
            return
        kept = {*waiting, *self._untold, *self._returned, *self._batch, *self.prepaid}
        self.values = {tenant: value for tenant, value in self.values.items() if value > lowest or tenant in kept}
        self._owed = {tenant: owed for tenant, owed in self._owed.items() if tenant in self.values}

    def check(self) -> None:
        """What is to be told was counted here too."""
        assert self._untold.keys() | self._returned | self._batch.keys() <= self.values.keys()
        assert all(amount >= 0 for amount in (*self._untold.values(), *self._owed.values(), *self.prepaid.values()))

    def _set_off(self, tenant: str, amount: float) -> float:
        """What is left to be charged."""
        owed = self._owed.pop(tenant)
        if owed > amount:
            self._owed[tenant] = owed - amount
        return max(0.0, amount - owed)

    def _entry(self, tenant: str, *, waits: bool) -> Entry:
        delta = self._untold.pop(tenant, 0.0)
        returned = tenant in self._returned
        self._returned.discard(tenant)
        return Entry(delta, self.values[tenant] - delta, returned, waits)
