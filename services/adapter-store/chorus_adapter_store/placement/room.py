"""What an engine has left for commands, by what it reports and what was sent to it since."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

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


class Urgency(IntEnum):
    """What a command is for: the more urgent displaces what only less urgent ones would keep."""

    COURTESY = 0  # what may be asked for soon: nothing that anybody asks for gives way
    DEMAND = 1  # copies of what has enough of them elsewhere give way
    PIN = 2  # whatever the engine gives up


class Room:
    """What an engine says is free, less what is to stay there though the engine would give it up."""

    def __init__(
        self,
        engine: Engine,
        sizes: Sizes,
        kept: Mapping[Urgency, Collection[str]],
        pending: Iterable[Command],
        most: int,
    ) -> None:
        """`kept`: digests that give way to nothing of that urgency. `pending`: this engine's commands that have not
        ended, of which it may have `most`."""
        self.engine = engine
        self._sizes = sizes
        self._busy: set[str] = set()  # digests that a command is about
        self._commands = most
        self._kept = {urgency: self._amounts(kept.get(urgency, ())) for urgency in Urgency}
        # Residency is told at once and what is free with the heartbeat, seconds later.
        busy = [each for each in engine.held.values() if each.tier is Tier.GPU and not _is_idle(each)]
        pinned = sum(sizes.of(each.digest, Tier.GPU) for each in busy if each.pinned is Tier.GPU)
        self._left = _Amounts(
            slots=min(engine.slots_free, engine.slots - len(busy)),
            pool=min(engine.pool_bytes_free, engine.pool_bytes - sum(sizes.of(each.digest, Tier.GPU) for each in busy)),
            host=engine.host_bytes_free,
            pool_pins=min(engine.pin_bytes_free, engine.pin_bytes - pinned),
            host_pins=engine.host_pin_bytes_free,
        )
        for command in pending:
            self._take(command)

    @property
    def host(self) -> int:
        """Bytes for what has demand."""
        return self._left.host - self._kept[Urgency.DEMAND].host

    @property
    def slots(self) -> int:
        """For what has demand."""
        return self._left.slots - self._kept[Urgency.DEMAND].slots

    def is_busy(self, digest: str) -> bool:
        return digest in self._busy

    def fits(self, command: Command, urgency: Urgency) -> bool:
        """Whether it can be sent: one command about an adapter at a time, and none that finds no room."""
        if self._commands <= 0 or command.digest in self._busy:
            return False
        cost, left, kept = self._cost(command), self._left, self._kept[urgency]
        return (
            (not cost.slots or cost.slots <= left.slots - kept.slots)
            and (not cost.pool or cost.pool <= left.pool - kept.pool)
            and (not cost.host or cost.host <= left.host - kept.host)
            and (not cost.pool_pins or cost.pool_pins <= left.pool_pins)
            and (not cost.host_pins or cost.host_pins <= left.host_pins)
        )

    def take(self, command: Command, urgency: Urgency) -> bool:
        """False, and nothing is taken, when it does not fit."""
        if not self.fits(command, urgency):
            return False
        self._take(command)
        return True

    def _amounts(self, digests: Collection[str]) -> _Amounts:
        """What these take of what the engine counts as free."""
        kept = [each for each in self.engine.held.values() if each.digest in digests]
        slots = [each for each in kept if each.tier is Tier.GPU and _is_idle(each)]
        # What is in a slot may have a copy in host memory that counts there.
        host = [each for each in kept if each.tier is Tier.GPU or _is_idle(each)]
        return _Amounts(
            slots=len(slots),
            pool=sum(self._sizes.of(each.digest, Tier.GPU) for each in slots),
            host=sum(self._sizes.of(each.digest, Tier.HOST) for each in host),
        )

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
        pins, in_slot = command.verb is Verb.PIN, command.tier is Tier.GPU
        size = self._sizes.of(command.digest, command.tier)
        held = self.engine.holds(command.digest)
        # A pin takes also what was there already, from what the engine counts as free.
        lacks = held is None or held.tier is not command.tier or (pins and _is_idle(held))
        if in_slot and lacks:
            cost.slots, cost.pool = 1, size
        if held is None or (not in_slot and lacks and pins):
            cost.host = self._sizes.of(command.digest, Tier.HOST)
        if pins and (held is None or held.pinned is not command.tier):
            cost.pool_pins, cost.host_pins = (size, 0) if in_slot else (0, size)
        return cost


def _is_idle(held: Held) -> bool:
    return held.state == "ready" and not held.leases and held.pinned is not held.tier
