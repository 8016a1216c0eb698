"""Tenants, their limits, and the limits of their use of adapters."""

from collections.abc import Iterable
from typing import Any, TypedDict

from chorus_client.accounts import AdapterLimits, Limits, Period, ServiceTier, Tenant, UseLimits
from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.writing import Money, changes, given

UNLIMITED = Limits()


class UseLimitChanges(TypedDict, total=False):
    """What is not given stays, None lifts a limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    concurrent_requests: int | None
    budget: Money | None
    budget_period: Period


class LimitChanges(UseLimitChanges, total=False):
    adapters: int | None
    adapter_bytes: int | None
    adapter_rank: int | None


class Tenants:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        tenant: str,
        *,
        weight: float = 1.0,
        limits: Limits = UNLIMITED,
        tiers: Iterable[ServiceTier | str] | None = None,
        default_max_tokens: int | None = None,
    ) -> Tenant:
        """`tiers`: the service tiers that its requests may ask for, None for all. Conflict when the name is taken."""
        body: dict[str, Any] = {"id": tenant, "weight": weight, "limits": given(limits)}
        if tiers is not None:
            body["tiers"] = [*tiers]
        if default_max_tokens is not None:
            body["default_max_tokens"] = default_max_tokens
        return read(Tenant, self._transport.json("POST", path("tenants"), json=body))

    def list(self) -> tuple[Tenant, ...]:
        """By id."""
        return read_list(Tenant, self._transport.json("GET", path("tenants")))

    def get(self, tenant: str) -> Tenant:
        return read(Tenant, self._transport.json("GET", path("tenants", tenant)))

    def change(
        self,
        tenant: str,
        *,
        weight: float | None = None,
        limits: LimitChanges | None = None,
        tiers: Iterable[ServiceTier | str] | None = None,
        default_max_tokens: int | None = None,
        suspended: bool | None = None,
    ) -> Tenant:
        """None stays. `default_max_tokens` 0 goes back to the gateway's."""
        body: dict[str, Any] = {"limits": changes(limits)}
        if weight is not None:
            body["weight"] = weight
        if tiers is not None:
            body["tiers"] = [*tiers]
        if default_max_tokens is not None:
            body["default_max_tokens"] = default_max_tokens or None
        if suspended is not None:
            body["suspended"] = suspended
        return read(Tenant, self._transport.json("PATCH", path("tenants", tenant), json=body))

    def delete(self, tenant: str) -> None:
        """For ever: its id is not given out again. Conflict while it has adapters, or a key that is good."""
        self._transport.json("DELETE", path("tenants", tenant))

    def adapter_limits(self, tenant: str) -> tuple[AdapterLimits, ...]:
        """By adapter, those that have any."""
        return read_list(AdapterLimits, self._transport.json("GET", path("tenants", tenant, "adapter-limits")))

    def limit_adapter(self, tenant: str, owner: str, name: str, limits: UseLimits) -> AdapterLimits:
        """Of this tenant's requests for `owner/name`, instead of those it had."""
        route = path("tenants", tenant, "adapter-limits", owner, name)
        return read(AdapterLimits, self._transport.json("PUT", route, json=given(limits)))

    def unlimit_adapter(self, tenant: str, owner: str, name: str) -> None:
        """NotFound when it has no limits."""
        self._transport.json("DELETE", path("tenants", tenant, "adapter-limits", owner, name))
