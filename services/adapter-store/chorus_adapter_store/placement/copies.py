"""On how many engines each adapter should be: more as soon as its demand says so, fewer only after a while."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from chorus_adapter_store.placement.fleet import Demand, Engine
from chorus_adapter_store.placement.situation import Copies, Rules
from chorus_adapter_store.values import Tier


def follow(
    before: Mapping[str, Copies], demand: Mapping[str, Demand], engines: Sequence[Engine], now: float, rules: Rules
) -> dict[str, Copies]:
    """By digest, of those with demand in the last minute. Without a decision before, all that is there may stay."""
    enough = rules.share * min((each.max_num_seqs for each in engines if each.max_num_seqs), default=1)
    there = Counter(held.digest for each in engines for held in each.held.values() if held.tier is Tier.GPU)
    decided = {}
    for digest, each in sorted(demand.items()):
        wanted = max(1, min(math.ceil(each.in_flight / enough), len(engines)))
        known = before.get(digest, Copies(max(wanted, there[digest]), now + rules.shrink_after))
        decided[digest] = (
            known if wanted < known.count and now < known.until else Copies(wanted, now + rules.shrink_after)
        )
    return decided
