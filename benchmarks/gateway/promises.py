"""Figures of what is promised about quotas and fairness, from the rigs that look for them."""

from collections.abc import Mapping
from typing import Any

from benchmarks.figures import Figure

_NEAR = 0.03  # of a share


def quotas(found: Mapping[str, Any]) -> list[Figure]:
    """From benchmarks.gateway.quota."""
    held = sum(found["left"].values())
    seen, places = found["most_in_flight_seen"], found["places"]
    return [
        Figure("held of quotas after random requests, cancels and kills", held, "", 0, detail=dict(found)),
        Figure("requests in flight beyond a limit's places", max(0, seen - places), "", 0),
    ]


def fairness(found: Mapping[str, Any]) -> list[Figure]:
    """From benchmarks.gateway.fairness. Shares are the lighter tenant's, or the heavier-weighted one's."""
    even, weighted = (found[name]["shares"]["light"] for name in ("equal_weights", "weights_3_to_1"))
    figures = [
        Figure("a tenant's share beside one that sends 20 times as much, from a half", abs(even - 0.5), "", _NEAR),
        Figure("a tenant's share with weight 3 against 1, from three quarters", abs(weighted - 0.75), "", _NEAR),
    ]
    for name, key in (("a light tenant's", "light_first_token_p95"), ("the top band's", "priority_first_token_p95")):
        timed = found[key]
        limit = 1000 * timed["bound"]
        label = f"{name} first token beside a flood, p95"
        figures.append(Figure(label, 1000 * timed["beside_flood"], "ms", limit, detail=dict(timed)))
    least = min(found["bands"]["shares"].values())
    figures.append(
        Figure("the least share of a band while all wait", least, "", 0.02, least=True, detail=dict(found["bands"]))
    )
    return figures
