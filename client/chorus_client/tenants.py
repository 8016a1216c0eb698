"""Tenants and their keys."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import TypedDict

from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.values import Key, Limits, NewKey, Tenant

UNLIMITED = Limits()


class LimitChanges(TypedDict, total=False):
    """What is not given stays, None lifts a limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    adapters: int | None
    adapter_bytes: int | None
    adapter_rank: int | None


class Tenants:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, tenant: str, *, weight: float = 1.0, limits: Limits = UNLIMITED) -> Tenant:
        """Conflict when the name is taken."""
        body = {"id": tenant, "weight": weight, "limits": asdict(limits)}
        return read(Tenant, self._transport.json("POST", path("tenants"), json=body))

    def list(self) -> tuple[Tenant, ...]:
        """By id."""
        return read_list(Tenant, self._transport.json("GET", path("tenants")))

    def get(self, tenant: str) -> Tenant:
        return read(Tenant, self._transport.json("GET", path("tenants", tenant)))

    def change(self, tenant: str, *, weight: float | None = None, limits: LimitChanges | None = None) -> Tenant:
        body = {"limits": limits or {}} | ({} if weight is None else {"weight": weight})
        return read(Tenant, self._transport.json("PATCH", path("tenants", tenant), json=body))


class Keys:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        tenant: str,
        *,
        scopes: Iterable[str] = ("infer",),
        expires_in: timedelta | float | None = None,
        name: str = "",
    ) -> NewKey:
        """`expires_in` in seconds, None is never. The key itself is in this answer and nowhere else."""
        seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
        body = {"scopes": list(scopes), "expires_in": seconds, "name": name}
        return read(NewKey, self._transport.json("POST", path("tenants", tenant, "keys"), json=body))

    def list(self, tenant: str) -> tuple[Key, ...]:
        """Oldest first, revoked ones too."""
        return read_list(Key, self._transport.json("GET", path("tenants", tenant, "keys")))

    def revoke(self, key_id: str) -> Key:
        """It is refused everywhere within a second. Revoking it again changes nothing."""
        return read(Key, self._transport.json("DELETE", path("keys", key_id)))
