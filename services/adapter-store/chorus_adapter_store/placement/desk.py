"""Where one decision comes together: the engines of a base, their rooms, and the commands so far."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from chorus_adapter_store.placement.fleet import Command, Engine, Held, Verb
from chorus_adapter_store.placement.room import Room, Urgency
from chorus_adapter_store.placement.situation import Copies, PinWish, Rules, Situation
from chorus_adapter_store.placement.sizes import Sizes
from chorus_adapter_store.values import Tier


class Desk:
    def __init__(self, situation: Situation, copies: Mapping[str, Copies], rules: Rules) -> None:
        self.situation = situation
        self.rules = rules
        self.copies = copies
        self.engines = tuple(each for each in situation.engines if each.placeable)
        self.sizes = Sizes(situation.engines, situation.files)
        self.commands: list[Command] = []
        self.short: tuple[PinWish, ...] = ()
        self.homes = {digest: self.holders(digest)[: each.count] for digest, each in copies.items()}
        self.leaving = self._leaving()
        self.seeds = {each.engine_id: self._seeds(each) for each in self.engines}
        self._load = dict.fromkeys(self.seeds, 0.0)
        for digest, homes in self.homes.items():
            for home in homes:
                self.add_load(home, situation.demand[digest].in_flight / len(homes))
        self._rooms = {each.engine_id: self._room(each) for each in self.engines}

    def able(self, digest: str) -> list[Engine]:
        """Engines that may be told to hold it; none of what no request may use."""
        return [each for each in self.engines if self.is_able(each, digest)]

    def is_able(self, engine: Engine, digest: str) -> bool:
        file = self.situation.files.get(digest)
        return file is not None and engine.can_hold(file)

    def holders(self, digest: str) -> list[Engine]:
        """Of those, the ones that have it or are getting it; where it is most at home first."""
        return sorted(
            (each for each in self.able(digest) if each.holds(digest)), key=lambda each: _at_home(each, digest)
        )

    def is_pinned(self, engine_id: str, digest: str) -> bool:
        found = [each.held.get(digest) for each in self.engines if each.engine_id == engine_id]
        return any(held is not None and held.pinned is not None for held in found)

    def coming(self, engine: Engine, digest: str) -> bool:
        """Whether a command about it is on its way or was just answered: what it did may not be seen yet."""
        return self._rooms[engine.engine_id].is_busy(digest)

    def room(self, engine: Engine) -> Room:
        return self._rooms[engine.engine_id]

    def by_room(self, engines: Iterable[Engine], tier: Tier) -> list[Engine]:
        """Those with a free slot for it first, then the least busy, then those with most host memory."""

        def preference(each: Engine) -> tuple[bool, float, int, str]:
            room = self.room(each)
            return tier is Tier.GPU and room.slots <= 0, self._load[each.engine_id], -room.host, each.engine_id

        return sorted(engines, key=preference)

    def add_load(self, engine: Engine, in_flight: float) -> None:
        self._load[engine.engine_id] += in_flight

    def say(self, engine: Engine, verb: Verb, digest: str, tier: Tier, urgency: Urgency = Urgency.COURTESY) -> bool:
        """Add a command; False when it has no room, or was said a moment ago."""
        command = Command(engine.engine_id, verb, digest, tier)
        if command in self.situation.resting or not self.room(engine).take(command, urgency):
            return False
        self.commands.append(command)
        return True

    def prefetch(self, engine: Engine, digest: str, tier: Tier, urgency: Urgency = Urgency.COURTESY) -> bool:
        """Into the tier, or if it has no room there into host memory. False when nothing is to be done or can be."""
        held = engine.holds(digest)
        lacks_slot = held is None or held.tier is Tier.HOST
        if tier is Tier.GPU and lacks_slot and self.say(engine, Verb.PREFETCH, digest, Tier.GPU, urgency):
            return True
        return held is None and self.say(engine, Verb.PREFETCH, digest, Tier.HOST, urgency)

    def _room(self, engine: Engine) -> Room:
        """Nothing that one step brings is displaced by another, else they would go on for ever."""
        needed = {digest for digest, homes in self.homes.items() if engine in homes}
        needed |= {each.digest for each in self.situation.warmings}
        needed |= {*self.leaving, *self.seeds[engine.engine_id]}
        kept = {Urgency.COURTESY: needed | self.homes.keys(), Urgency.DEMAND: needed}
        pending = sorted(each for each in self.situation.pending if each.engine_id == engine.engine_id)
        return Room(engine, self.sizes, kept, pending, self.rules.commands)

    def _leaving(self) -> list[str]:
        """What engines that leave or hang used lately, the last first."""
        since = self.situation.now - self.rules.moved
        used: dict[str, float] = {}
        for engine in self.situation.engines:
            if engine.leaving:
                for digest, held in engine.held.items():
                    if held.last_use >= since or held.leases or held.pinned:
                        used[digest] = max(used.get(digest, 0.0), held.last_use)
        return sorted(used, key=lambda digest: (-used[digest], digest))[: self.rules.most_moved]

    def _seeds(self, engine: Engine) -> list[str]:
        """What an engine that has just started is given: what is used most, up to a part of its host memory."""
        if self.situation.now - engine.started_at > self.rules.newcomer:
            return []
        able = [digest for digest in self.situation.recent if self.is_able(engine, digest)]
        sums = accumulate(self.sizes.of(digest, Tier.HOST) for digest in able)
        most = engine.host_bytes * self.rules.newcomer_share
        return [digest for digest, total in zip(able, sums, strict=True) if total <= most]


def _at_home(engine: Engine, digest: str) -> tuple[bool, bool, int, str]:
    held: Held = engine.held[digest]
    return held.tier is not Tier.GPU, held.pinned is None, -held.leases, engine.engine_id
