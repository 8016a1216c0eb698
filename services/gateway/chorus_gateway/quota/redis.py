"""Quotas that all gateways share."""

import asyncio
import math
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.quota.verdict import Verdict, answer, refuse_impossible
from chorus_gateway.values import Reservation, Tenant

LEASE_SECONDS = 30.0


class RedisQuota:
    """Time is Redis's, a tenant's keys share one hash tag, and each step is one atomic script.

    A request's place in flight is a lease that `renew` keeps while the request runs, so that the places of a gateway
    that was killed are free again after `lease` seconds. RedisError leaves `reserve` and `settle` as it is: what its
    absence means is decided by DegradingQuota.
    """

    def __init__(self, redis: Redis, *, lease: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._lease = lease
        self._held: dict[str, str] = {}  # reservation → tenant
        self._reserve = redis.register_script(_script("reserve"))
        self._settle = redis.register_script(_script("settle"))
        self._renew = redis.register_script(_script("renew"))

    async def reserve(self, tenant: Tenant, request_id: str, tokens: int) -> Reservation:
        refuse_impossible(tenant, tokens)
        limits = tenant.limits
        arguments = (
            request_id,
            tokens,
            _or_none(limits.requests_per_minute),
            _or_none(limits.tokens_per_minute),
            _or_none(limits.concurrent_requests),
            round(self._lease * 1e6),
        )
        granted, requests, left, in_flight = await self._reserve(keys=_keys(tenant.id), args=arguments)
        verdict = Verdict(bool(granted), float(requests), float(left), int(in_flight))
        reservation = answer(tenant, request_id, tokens, verdict)
        self._held[reservation.id] = tenant.id
        return reservation

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        # First of all out of `_held`: should Redis not answer, the lease lapses.
        self._held.pop(reservation.id, None)
        tenant = reservation.tenant
        arguments = (reservation.id, reservation.tokens - tokens, _or_none(tenant.limits.tokens_per_minute))
        await self._settle(keys=_keys(tenant.id), args=arguments)

    async def in_flight(self, tenant: Tenant) -> int:
        return int(await self._redis.zcard(_keys(tenant.id)[1]))

    async def keep_leases(self) -> None:
        """Renews until cancelled. While Redis is away there is nothing to keep; leases of requests that outlast its
        absence lapse, which lets a few more requests in but loses none."""
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self.renew()
            except (RedisError, OSError):
                continue

    async def renew(self) -> None:
        by_tenant: dict[str, list[str]] = {}
        for reservation, tenant in self._held.items():
            by_tenant.setdefault(tenant, []).append(reservation)
        for tenant, reservations in by_tenant.items():
            await self._renew(keys=[_keys(tenant)[1]], args=[math.ceil(self._lease * 1e6), *reservations])


def _script(name: str) -> str:
    return files("chorus_gateway.quota").joinpath(f"{name}.lua").read_text()


def _keys(tenant: str) -> list[str]:
    return [f"chorus:quota:{{{tenant}}}:account", f"chorus:quota:{{{tenant}}}:leases"]


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit
