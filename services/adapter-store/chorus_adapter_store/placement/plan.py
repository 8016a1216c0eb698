"""What engines should do next: a pure function of what is known. Nothing here waits or remembers."""

from collections.abc import Callable

from chorus_adapter_store.placement.copies import follow
from chorus_adapter_store.placement.desk import Desk
from chorus_adapter_store.placement.fleet import Engine, Verb
from chorus_adapter_store.placement.pins import assign
from chorus_adapter_store.placement.room import Urgency
from chorus_adapter_store.placement.situation import Plan, Rules, Situation
from chorus_adapter_store.values import Tier

RULES = Rules()


def plan(situation: Situation, rules: Rules = RULES) -> Plan:
    """Applied for as long as nothing changes, it says everything once and is silent then."""
    active = [each for each in situation.engines if each.placeable]
    demand = {digest: each for digest, each in situation.demand.items() if digest in situation.files}
    copies = follow(situation.copies, demand, active, situation.now, rules)
    desk = Desk(situation, copies, rules)
    for step in _STEPS:
        step(desk)
    return Plan(tuple(desk.commands), copies, desk.short)


def _pin(desk: Desk) -> None:
    """Pins that engines have and should not, then those that they should have and have not."""
    tried = {(each.engine_id, each.digest) for each in desk.situation.resting if each.verb is Verb.PIN}
    refused = {pair for pair in tried if not desk.is_pinned(*pair)}
    found_room = assign(desk.engines, desk.situation.pins, desk.sizes, refused)
    assigned, desk.short = found_room.tiers, found_room.short
    for engine in desk.engines:
        for digest, held in sorted(engine.held.items()):
            if held.pinned is not None and assigned[engine.engine_id].get(digest) is not held.pinned:
                desk.say(engine, Verb.UNPIN, digest, held.pinned)
    for engine in desk.engines:
        for digest, tier in sorted(assigned[engine.engine_id].items()):
            found = engine.held.get(digest)
            if found is None or found.pinned is None:
                desk.say(engine, Verb.PIN, digest, tier, Urgency.PIN)


def _drain_gone(desk: Desk) -> None:
    """What no request may use any more, once those that began with it have ended."""
    for engine in desk.engines:
        for digest, held in sorted(engine.held.items()):
            demand = desk.situation.demand.get(digest)
            idle = not held.leases and not (demand is not None and demand.lately)
            if digest in desk.situation.gone and held.usable and held.pinned is None and idle:
                desk.say(engine, Verb.DRAIN, digest, Tier.HOST)


def _warm(desk: Desk) -> None:
    """What will be asked for soon: where what it takes the place of is, or else in one engine's host memory."""
    for warming in desk.situation.warmings:
        able = desk.able(warming.digest)
        before = [(each, held) for each in able if (held := each.holds(warming.after))]
        for engine, held in before:
            desk.prefetch(engine, warming.digest, held.tier)
        if not before:
            _keep_somewhere(desk, warming.digest, Tier.HOST)


def _spread(desk: Desk) -> None:
    """As many engines as the demand asks for, the busiest adapters first."""
    demand = desk.situation.demand
    for digest, copies in sorted(desk.copies.items(), key=lambda each: (-demand[each[0]].in_flight, each[0])):
        homes = desk.homes[digest]
        if not homes and digest not in desk.situation.copies:
            continue  # seen for the first time: the request itself has just begun to bring it somewhere
        if copies.count > 1 and demand[digest].lately:
            for home in homes:
                desk.prefetch(home, digest, Tier.GPU, Urgency.DEMAND)
        others = [each for each in desk.able(digest) if each not in homes]
        missing = copies.count - len(homes) - sum(desk.coming(each, digest) for each in others)
        tier = Tier.GPU if demand[digest].lately else Tier.HOST
        for engine in desk.by_room(others, tier):
            if missing <= 0:
                break
            if desk.prefetch(engine, digest, tier, Urgency.DEMAND):
                desk.add_load(engine, demand[digest].in_flight / copies.count)
                missing -= 1


def _rescue(desk: Desk) -> None:
    """What engines that leave or hang have, and nobody else."""
    for digest in desk.leaving:
        _keep_somewhere(desk, digest, Tier.HOST)


def _seed(desk: Desk) -> None:
    """Engines that have just started are given what others use."""
    for engine in desk.engines:
        for digest in desk.seeds[engine.engine_id]:
            desk.prefetch(engine, digest, Tier.HOST)


def _thin(desk: Desk) -> None:
    """Copies beyond what the demand asks for, where others could use the room. Elsewhere they do no harm, and the
    engine's own policy lets them go when they are cold."""
    for digest, homes in sorted(desk.homes.items()):
        if len(homes) < desk.copies[digest].count:
            continue
        for engine in desk.holders(digest):
            held = engine.held[digest]
            surplus = engine not in homes and held.tier is Tier.GPU and held.state == "ready"
            if surplus and held.pinned is None and _is_short(engine, desk.rules.short_of_room):
                desk.say(engine, Verb.DRAIN, digest, Tier.GPU)


def _keep_somewhere(desk: Desk, digest: str, tier: Tier) -> None:
    """On one engine, if it is on none."""
    able = desk.able(digest)
    if any(each.holds(digest) or desk.coming(each, digest) for each in able):
        return
    for engine in desk.by_room(able, tier):
        if desk.prefetch(engine, digest, tier):
            return


def _is_short(engine: Engine, share: float) -> bool:
    return engine.slots_free < share * engine.slots or engine.pool_bytes_free < share * engine.pool_bytes


# Of the commands that an engine may have in flight, the earlier ones take theirs first.
_STEPS: tuple[Callable[[Desk], None], ...] = (_pin, _drain_gone, _warm, _spread, _rescue, _seed, _thin)
