"""Which engines keep which pins."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from chorus_adapter_store.placement.fleet import Engine
from chorus_adapter_store.placement.situation import PinWish
from chorus_adapter_store.placement.sizes import Sizes
from chorus_adapter_store.values import Tier


@dataclass(frozen=True, slots=True)
class Assigned:
    tiers: dict[str, dict[str, Tier]]  # by engine, then digest
    short: tuple[PinWish, ...]  # those for which fewer engines than wanted have room


def assign(
    engines: Sequence[Engine], wishes: Iterable[PinWish], sizes: Sizes, refused: Collection[tuple[str, str]] = ()
) -> Assigned:
    """Earlier wishes first. Whoever has a pin keeps it, so that nothing moves without need. `refused`: engines that did
    not take a digest a moment ago, which are asked last."""
    left = {each.engine_id: {Tier.GPU: each.pin_bytes, Tier.HOST: each.host_pin_bytes} for each in engines}
    slots = {each.engine_id: each.slots for each in engines}
    tiers: dict[str, dict[str, Tier]] = {each.engine_id: {} for each in engines}
    short = []
    for wish in merge(wishes):
        digest, tier = wish.file.digest, wish.tier
        size = sizes.of(digest, tier)
        able = [each for each in engines if each.can_hold(wish.file)]
        wanted = min(wish.engines or len(engines), len(engines))
        fitting = sorted(
            ((each.engine_id, digest) in refused, _preference(each, wish, left[each.engine_id][tier]), each.engine_id)
            for each in able
            if left[each.engine_id][tier] >= size and (tier is Tier.HOST or slots[each.engine_id] > 0)
        )
        for *_, engine_id in fitting[:wanted]:
            tiers[engine_id][digest] = tier
            left[engine_id][tier] -= size
            slots[engine_id] -= tier is Tier.GPU
        if len(fitting) < wanted:
            short.append(wish)
    return Assigned(tiers, tuple(short))


def merge(wishes: Iterable[PinWish]) -> list[PinWish]:
    """One wish a digest, though several names may mean it: the higher tier, and the more engines."""
    merged: dict[str, PinWish] = {}
    for wish in wishes:
        known = merged.get(wish.file.digest)
        if known is None:
            merged[wish.file.digest] = wish
        else:
            tier = Tier.GPU if Tier.GPU in (known.tier, wish.tier) else Tier.HOST
            engines = max(known.engines, wish.engines) if known.engines and wish.engines else 0
            merged[wish.file.digest] = replace(known, tier=tier, engines=engines)
    return list(merged.values())


def _preference(engine: Engine, wish: PinWish, left: int) -> tuple[bool, bool, bool, int]:
    held = engine.holds(wish.file.digest)
    pinned = held.pinned if held is not None else None
    in_slot = held is not None and held.tier is Tier.GPU
    return pinned is not wish.tier, held is None, not in_slot, -left
