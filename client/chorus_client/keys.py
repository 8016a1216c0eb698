"""API keys."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from chorus_client.accounts import Key, NewKey, UseLimits
from chorus_client.reading import read, read_list
from chorus_client.tenants import UseLimitChanges
from chorus_client.transport import Transport, path
from chorus_client.writing import changes, given, seconds

NO_LIMITS = UseLimits()


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
        limits: UseLimits = NO_LIMITS,
        models: Iterable[str] | None = None,
        networks: Iterable[str] | None = None,
    ) -> NewKey:
        """`expires_in` in seconds, None is never. `limits` are the key's own beside its tenant's. `models` that it may
        use, such as "base@adapter" or "base@*", and `networks` from which, such as "10.0.0.0/8"; None is all. The key
        itself is in this answer and nowhere else."""
        body = _new(scopes, expires_in, name)
        if limits != NO_LIMITS:
            body["limits"] = given(limits)
        if models is not None:
            body["models"] = [*models]
        if networks is not None:
            body["networks"] = [*networks]
        return read(NewKey, self._transport.json("POST", path("tenants", tenant, "keys"), json=body))

    def create_admin(
        self,
        *,
        expires_in: timedelta | float | None = None,
        name: str = "",
        networks: Iterable[str] | None = None,
    ) -> NewKey:
        """A key for everything under /admin."""
        body = _new(("admin",), expires_in, name)
        if networks is not None:
            body["networks"] = [*networks]
        return read(NewKey, self._transport.json("POST", path("keys"), json=body))

    def list(self, tenant: str) -> tuple[Key, ...]:
        """Oldest first, revoked ones too."""
        return read_list(Key, self._transport.json("GET", path("tenants", tenant, "keys")))

    def list_admin(self) -> tuple[Key, ...]:
        """Administrators' keys, oldest first, revoked ones too."""
        return read_list(Key, self._transport.json("GET", path("keys")))

    def get(self, key_id: str) -> Key:
        return read(Key, self._transport.json("GET", path("keys", key_id)))

    def change(
        self,
        key_id: str,
        *,
        name: str | None = None,
        limits: UseLimitChanges | None = None,
        models: Iterable[str] | None = None,
        networks: Iterable[str] | None = None,
    ) -> Key:
        """None stays; an empty list of models or networks is all of them again."""
        body: dict[str, Any] = {} if name is None else {"name": name}
        if limits:
            body["limits"] = changes(limits)
        if models is not None:
            body["models"] = [*models] or None
        if networks is not None:
            body["networks"] = [*networks] or None
        return read(Key, self._transport.json("PATCH", path("keys", key_id), json=body))

    def rotate(self, key_id: str, *, overlap: timedelta | float = 0.0) -> NewKey:
        """A new key that may what the old one may, which is good for `overlap` more seconds."""
        body = {"overlap": seconds(overlap)}
        return read(NewKey, self._transport.json("POST", path("keys", key_id, "rotate"), json=body))

    def revoke(self, key_id: str) -> Key:
        """It is refused everywhere within a second. Revoking it again changes nothing."""
        return read(Key, self._transport.json("DELETE", path("keys", key_id)))


def _new(scopes: Iterable[str], expires_in: timedelta | float | None, name: str) -> dict[str, Any]:
    return {"scopes": list(scopes), "expires_in": seconds(expires_in), "name": name}
