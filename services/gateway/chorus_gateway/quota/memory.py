"""Quotas in this process alone: for tests, and for the time that Redis is away."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chorus_gateway.quota.verdict import WINDOW_SECONDS, Verdict, answer, refuse_impossible
from chorus_gateway.values import Limits, Reservation, Tenant


@dataclass(slots=True)
class _Account:
    """Levels of the limited buckets at time `at`, and the leases in flight with the time of their end."""

    at: float
    levels: dict[str, float] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)


class MemoryQuota:
    """The same rules as reserve.lua and settle.lua."""

    def __init__(self, *, lease: float = 900.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`lease` in seconds: the longest that a request which is never settled holds its place."""
        self._lease = lease
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def reserve(self, tenant: Tenant, request_id: str, tokens: int) -> Reservation:
        refuse_impossible(tenant, tokens)
        account = self._account(tenant)
        wanted = {"requests": 1, "tokens": tokens}
        places = tenant.limits.concurrent_requests
        granted = (places is None or len(account.leases) < places) and all(
            level >= wanted[name] for name, level in account.levels.items()
        )
        if granted:
            account.levels = {name: level - wanted[name] for name, level in account.levels.items()}
            account.leases[request_id] = account.at + self._lease
        levels = account.levels
        verdict = Verdict(granted, levels.get("requests", 0), levels.get("tokens", 0), len(account.leases))
        return answer(tenant, request_id, tokens, verdict)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        account = self._account(reservation.tenant)
        if account.leases.pop(reservation.id, None) is not None and "tokens" in account.levels:
            limit = reservation.tenant.limits.tokens_per_minute or 0
            account.levels["tokens"] = min(limit, account.levels["tokens"] + reservation.tokens - tokens)

    def in_flight(self, tenant: Tenant) -> int:
        return len(self._account(tenant).leases)

    def _account(self, tenant: Tenant) -> _Account:
        """The tenant's account, brought up to now: buckets refilled, lapsed leases gone."""
        now = self._clock()
        account = self._accounts.setdefault(tenant.id, _Account(at=now))
        passed = max(0.0, now - account.at) / WINDOW_SECONDS
        account.levels = {
            name: min(limit, account.levels.get(name, math.inf) + passed * limit)
            for name, limit in _limits(tenant.limits).items()
        }
        account.at = max(now, account.at)
        account.leases = {key: end for key, end in account.leases.items() if end > now}
        return account


def _limits(limits: Limits) -> dict[str, int]:
    named = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
    return {name: limit for name, limit in named.items() if limit is not None}
