"""What the quota's scripts are given, and what they answer."""

from functools import lru_cache
from typing import Literal

from chorus_gateway.quota.base import NOTHING, Subject
from chorus_gateway.quota.level import Level
from chorus_gateway.values import Limits

Field = Literal["d", "b"]  # the counter of the day, of the budget
Doubts = tuple[tuple[int, Field], ...]  # (which of the bounded subjects, which counter)


def keys_of(tenant: str) -> tuple[str, str, str]:
    return (
        f"chorus:quota:{{{tenant}}}:accounts",
        f"chorus:quota:{{{tenant}}}:leases",
        f"chorus:quota:{{{tenant}}}:records",
    )


def limits_line(subject: Subject) -> str:
    return _line(subject.limits) if subject.limits is not NOTHING else ""


@lru_cache(maxsize=4096)
def _line(limits: Limits) -> str:
    of = (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        limits.tokens_per_day,
        limits.budget,
    )
    if all(limit is None for limit in of):
        return ""
    return " ".join("-1" if limit is None else str(limit) for limit in of) + f" {limits.budget_period.value}"


def read_levels(reply: str) -> tuple[bool, float, list[Level], Doubts]:
    """Whether it was granted, when (seconds since 1970), each bounded subject's level, and which counters to ask the
    ledger for again."""
    words = reply.split(" ")
    levels: list[Level] = []
    doubts: list[tuple[int, Field]] = []
    for at in range(2, len(words), 8):
        running, requests, tokens, spent, held, cost, held_cost, doubt = words[at : at + 8]
        if doubt != "0":
            if int(doubt) & 1:
                doubts.append((len(levels), "d"))
            if int(doubt) & 2:
                doubts.append((len(levels), "b"))
        levels.append(
            Level(int(running), float(requests), float(tokens), int(spent), int(held), int(cost), int(held_cost))
        )
    return words[0] == "1", int(words[1]) / 1e6, levels, tuple(doubts)


def read_unknown(reply: str) -> Doubts:
    """Counters that must be counted before anything is granted."""
    return tuple((int(word[:-1]) - 1, "d" if word[-1] == "d" else "b") for word in reply.split(" ")[1:])
