"""Figures from runs of the load client: what a gateway can do, and what it adds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figures import Figure
from benchmarks.gateway.native import Load, Spread

SHARE = 0.7  # of the most that one can do, at which latencies are taken
REQUESTS, _TOKENS = 1_000.0, 25_000.0
ALONE = 100.0  # requests a second: each is answered before the next one comes
_P50, _P99 = 2.0, 10.0  # milliseconds added
_TIMES, _FIFTH = 8.0, 0.2  # against the other
LITELLM = "added latency at 70% of its most, p50, LiteLLM"


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    load: Load
    cpu: float  # seconds of the server's processor time, warming up included

    def detail(self) -> dict[str, Any]:
        return {"cpu_seconds": round(self.cpu, 2), **_shown(self.load)}


def rates(most: Sequence[Run]) -> list[Figure]:
    """Of the gateway, and of the other one if it was measured."""
    ours = most[0]
    figures = [
        Figure("requests/s, one worker", ours.load.rate, "requests/s", REQUESTS, least=True, detail=ours.detail()),
        _failed("requests that failed, one worker", ours.load),
    ]
    for other in most[1:]:
        times = ours.load.rate / max(other.load.rate, 1 / other.load.seconds)
        figures += [
            Figure(f"requests/s, {other.name}", other.load.rate, "requests/s", detail=other.detail()),
            Figure(f"requests/s over those of {other.name}", times, "times", _TIMES, least=True),
        ]
    return figures


def latencies(pairs: Sequence[Sequence[tuple[Load, Load]]]) -> list[Figure]:
    """Each pair is a run through a gateway, and one past it at the same rate."""
    ours = min(pairs[0], key=lambda pair: _added(pair, "p99"))
    p50, p99 = (_added(ours, share) for share in ("p50", "p99"))
    detail = {"through": _shown(ours[0]), "past": _shown(ours[1])}
    figures = [
        Figure("added latency at 70% of its most, p50", p50, "ms", _P50, detail=detail),
        Figure("added latency at 70% of its most, p99", p99, "ms", _P99),
    ]
    for others in pairs[1:]:
        other = min(others, key=lambda pair: _added(pair, "p50"))
        added = _added(other, "p50")
        least = min(_added(pair, "p50") for pair in pairs[0])
        detail = {"through": _shown(other[0]), "past": _shown(other[1])}
        figures += [
            Figure(LITELLM, added, "ms", detail=detail),
            Figure(
                "added latency, p50, as a share of LiteLLM's, each at 70% of its most",
                least / max(added, 0.001),
                "",
                _FIFTH,
            ),
        ]
    return figures


def at_pace(through: Sequence[Load], past: Load, rate: float, other: float | None = None) -> list[Figure]:
    """At a rate that does not depend on what the gateway can do: 70% of what is promised, for which the same latencies
    are, or so few requests that none waits for another. Of several runs the one with the least 99th percentile.

    other: what the other one adds at 70% of its most, milliseconds.
    """
    best = min(through, key=lambda load: load.latency.p99)
    p50, p99 = (_added((best, past), share) for share in ("p50", "p99"))
    promised = rate == SHARE * REQUESTS
    name, detail = f"added latency at {rate:.0f} requests/s", {"through": _shown(best), "past": _shown(past)}
    figures = [
        Figure(f"{name}, p50", p50, "ms", _P50 if promised else None, detail=detail),
        Figure(f"{name}, p99", p99, "ms", _P99 if promised else None),
    ]
    if promised and other is not None:
        figures.append(Figure(f"{name}, p50, as a share of LiteLLM's", p50 / max(other, 0.001), "", _FIFTH))
    return figures


def streamed(runs: Sequence[Run], *, offered: float) -> list[Figure]:
    """`offered` tokens a second is what the streams would give if nothing held them back."""
    best = max(runs, key=lambda run: run.load.token_rate)
    load = best.load
    detail = {"offered": offered, **best.detail()}
    merged = 1 - min(1.0, (load.events - _others(load)) / load.tokens) if load.tokens else 1.0
    return [
        Figure("streamed tokens/s, an event each", load.token_rate, "tokens/s", _TOKENS, least=True, detail=detail),
        Figure("streamed tokens that came with another one in an event", merged, "", 0.01),
        _failed("streams that failed", load),
    ]


def _others(load: Load) -> int:
    """Events without a token: the role and the end of each answer, and [DONE]."""
    return 3 * load.answers


def _failed(name: str, load: Load) -> Figure:
    return Figure(name, load.failures, "", 0, detail={"answers": load.answers})


def _added(pair: tuple[Load, Load], share: str) -> float:
    """Milliseconds."""
    through, past = (getattr(load.latency, share) for load in pair)
    return float(1000 * (through - past))


def _shown(load: Load) -> dict[str, Any]:
    rounded = {"rate": round(load.rate, 1), "tokens": round(load.token_rate, 1), "failures": load.failures}
    return {**rounded, "latency_ms": _milliseconds(load.latency), "first_byte_ms": _milliseconds(load.first_byte)}


def _milliseconds(spread: Spread) -> dict[str, float]:
    return {name: round(1000 * value, 3) for name, value in asdict(spread).items()}
