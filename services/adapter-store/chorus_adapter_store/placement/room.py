"""What an engine has left for commands, by what it reports and what was sent to it since."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from chorus_adapter_store.placement.fleet import Command, Engine, Held, Verb
from chorus_adapter_store.placement.sizes import Sizes
from chorus_adapter_store.values import Tier


@dataclass(slots=True)
class _Amounts:
    slots: int = 0
    pool: int = 0  # bytes, as all below
    host: int = 0
    pool_pins: int = 0
    host_pins: int = 0


class Room:
    """Free is what nobody needs: what is `needed` there is not given up for something else, though its engine would."""

    def __init__(
        self, engine: Engine, sizes: Sizes, needed: Collection[str], pending: Iterable[Command], most: int
    ) -> None:
        """`pending`: this engine's commands that have not ended, of which it may have `most`."""
        self.engine = engine
        self._sizes = sizes
        self._busy: set[str] = set()  # digests that a command is about
        self._commands = most
        kept = [each for each in engine.held.values() if _is_kept(each, needed)]
        slots = [each for each in kept if each.tier is Tier.GPU]
        pool, host = (sum(each.bytes for each in kept if each.tier is tier) for tier in (Tier.GPU, Tier.HOST))
        self._left = _Amounts(
            slots=min(engine.slots_free, engine.slots - len(slots)),
            pool=min(engine.pool_bytes_free, engine.pool_bytes - pool),
            host=min(engine.host_bytes_free, engine.host_bytes - host),
            pool_pins=engine.pin_bytes_free,
            host_pins=engine.host_pin_bytes_free,
        )
        for command in pending:
            self._take(command)

    @property
    def host(self) -> int:
        """Bytes."""
        return self._left.host

    @property
    def slots(self) -> int:
        return self._left.slots

    def is_busy(self, digest: str) -> bool:
        return digest in self._busy

    def fits(self, command: Command) -> bool:
        """Whether it can be sent: one command about an adapter at a time, and none for which room is wanting."""
        if self._commands <= 0 or command.digest in self._busy:
            return False
        cost, left = self._cost(command), self._left
        return (
            (not cost.slots or cost.slots <= left.slots)
            and (not cost.pool or cost.pool <= left.pool)
            and (not cost.host or cost.host <= left.host)
            and (not cost.pool_pins or cost.pool_pins <= left.pool_pins)
            and (not cost.host_pins or cost.host_pins <= left.host_pins)
        )

    def take(self, command: Command) -> bool:
        """False, and nothing is taken, when it does not fit."""
        if not self.fits(command):
            return False
        self._take(command)
        return True

    def _take(self, command: Command) -> None:
        cost = self._cost(command)
        self._left.slots -= cost.slots
        self._left.pool -= cost.pool
        self._left.host -= cost.host
        self._left.pool_pins -= cost.pool_pins
        self._left.host_pins -= cost.host_pins
        self._commands -= 1
        self._busy.add(command.digest)

    def _cost(self, command: Command) -> _Amounts:
        cost = _Amounts()
        if command.verb not in (Verb.PREFETCH, Verb.PIN):
            return cost
        held, digest = self.engine.holds(command.digest), command.digest
        if held is None:
            cost.host = self._sizes.of(digest, Tier.HOST)
        if command.tier is Tier.GPU and (held is None or held.tier is not Tier.GPU):
            cost.slots, cost.pool = 1, self._sizes.of(digest, Tier.GPU)
        if command.verb is Verb.PIN and (held is None or held.pinned is not command.tier):
            if command.tier is Tier.GPU:
                cost.pool_pins = self._sizes.of(digest, Tier.GPU)
            else:
                cost.host_pins = self._sizes.of(digest, Tier.HOST)
        return cost


def _is_kept(held: Held, needed: Collection[str]) -> bool:
    return held.digest in needed or held.leases > 0 or held.pinned is not None
