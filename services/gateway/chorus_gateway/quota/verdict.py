"""What a check of the buckets found, and how a client is told."""

import math
from dataclasses import dataclass

from chorus_gateway.errors import InvalidRequest, RateLimited
from chorus_gateway.values import Limits, Reservation, Tenant

CONCURRENCY_RETRY_SECONDS = 1.0  # nobody knows when a running request ends
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state after the check. A level is what is left in a bucket; it may be negative after a settle that charged
    more than was reserved. Levels of limits that the tenant lacks mean nothing."""

    granted: bool
    requests: float
    tokens: float
    in_flight: int


def refuse_impossible(tenant: Tenant, tokens: int) -> None:
    """InvalidRequest when the bucket could not hold `tokens` even when full."""
    limit = tenant.limits.tokens_per_minute
    if limit is not None and tokens > limit:
        raise InvalidRequest(
            f"This request may use {tokens} tokens (prompt and max_tokens together), more than the limit of {limit} "
            "tokens per minute, so waiting would not help; lower max_tokens or shorten the prompt.",
            param="max_tokens",
            code="request_too_large",
        )


def answer(tenant: Tenant, reservation_id: str, tokens: int, verdict: Verdict) -> Reservation:
    """The reservation that was granted, or RateLimited with what was missing and for how long."""
    headers = rate_headers(tenant.limits, verdict)
    if verdict.granted:
        return Reservation(id=reservation_id, tenant=tenant, tokens=tokens, headers=headers)
    what, wait = _missing(tenant.limits, tokens, verdict)
    raise RateLimited(
        f"Rate limit reached for tenant '{tenant.id}' on {what}; try again in {duration(wait)}.",
        retry_after=wait,
        headers=headers,
    )


def rate_headers(limits: Limits, verdict: Verdict) -> dict[str, str]:
    """`x-ratelimit-*` of the limits that the tenant has; `reset` is the time until the bucket is full again."""
    headers: dict[str, str] = {}
    for kind, limit, level in (
        ("requests", limits.requests_per_minute, verdict.requests),
        ("tokens", limits.tokens_per_minute, verdict.tokens),
    ):
        if limit is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, math.floor(level)))
            headers[f"x-ratelimit-reset-{kind}"] = duration((limit - level) * WINDOW_SECONDS / limit)
    return headers


def duration(seconds: float) -> str:
    """As OpenAI writes it: `12ms`, `1s`, `1.5s`, `6m0s`; rounded up to a millisecond."""
    milliseconds = max(0, math.ceil(seconds * 1000 - 1e-6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    whole = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{whole}s" if minutes else f"{whole}s"


def _missing(limits: Limits, tokens: int, verdict: Verdict) -> tuple[str, float]:
    waits: list[tuple[float, str]] = []
    for kind, limit, level, wanted in (
        ("requests", limits.requests_per_minute, verdict.requests, 1),
        ("tokens", limits.tokens_per_minute, verdict.tokens, tokens),
    ):
        if limit is not None and level < wanted:
            what = f"{kind} per minute: limit {limit}, left {max(0, math.floor(level))}, requested {wanted}"
            waits.append(((wanted - level) * WINDOW_SECONDS / limit, what))
    if waits:
        wait, what = max(waits)
        return what, max(wait, 0.001)
    return (
        f"requests in flight: limit {limits.concurrent_requests}, running {verdict.in_flight}",
        CONCURRENCY_RETRY_SECONDS,
    )
