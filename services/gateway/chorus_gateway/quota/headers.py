"""`x-ratelimit-*`: what is left of the minute's limits, as OpenAI writes it."""

import math
from collections.abc import Iterable

from chorus_gateway.quota.base import Subject
from chorus_gateway.quota.buckets import WINDOW
from chorus_gateway.quota.level import Level


def rate_headers(levels: Iterable[tuple[Subject, Level]]) -> dict[str, str]:
    """Of requests and of tokens the limit of which least is left, whoever's it is; none where nobody has one. `reset`
    is the time until that limit is whole again."""
    tightest: dict[str, tuple[int, int, float]] = {}
    for subject, level in levels:
        limits = subject.limits
        for kind, limit, backlog in (
            ("requests", limits.requests_per_minute, level.requests),
            ("tokens", limits.tokens_per_minute, level.tokens),
        ):
            if limit is not None:
                left = left_of(limit, backlog)
                if kind not in tightest or left < tightest[kind][0]:
                    tightest[kind] = (left, limit, backlog / 1e6)
    headers: dict[str, str] = {}
    for kind, (left, limit, reset) in tightest.items():
        headers[f"x-ratelimit-limit-{kind}"] = str(limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(left)
        headers[f"x-ratelimit-reset-{kind}"] = duration(reset)
    return headers


def left_of(limit: int, backlog: float) -> int:
    return max(0, math.floor((WINDOW - backlog) / WINDOW * limit + 1e-6))


def duration(seconds: float) -> str:
    """`12ms`, `1s`, `1.5s`, `6m0s`; rounded up to a millisecond."""
    milliseconds = max(0, math.ceil(seconds * 1000 - 1e-6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    whole = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{whole}s" if minutes else f"{whole}s"
