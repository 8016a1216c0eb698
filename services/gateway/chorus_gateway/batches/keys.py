"""Who asks a batch's lines: the key that made the batch, which is known by its id alone then."""

import time
from collections.abc import Callable
from typing import Protocol

from chorus_gateway.auth import StoredKey
from chorus_gateway.caching import TtlCache
from chorus_gateway.errors import PermissionDenied, Unauthenticated
from chorus_gateway.tenants import StoredKeyInfo
from chorus_gateway.values import Principal, Scope

SCHEME = "Batch "
MOST_ROTATIONS = 16  # that are followed


class FindsKeys(Protocol):
    async def find(self, key_id: str) -> StoredKey | None: ...

    async def get(self, key_id: str) -> StoredKeyInfo: ...


class KeysOfBatches:
    """An Authenticator of "Batch <key id>", for a pipeline that no request from outside reaches.

    A key that was rotated is followed to its successor, as its batch must not end with it; one that was revoked or
    expired is refused. From where it may be used was asked when the batch was made.
    """

    def __init__(self, keys: FindsKeys, *, cache_ttl: float, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._cache: TtlCache[str, StoredKey | None] = TtlCache(ttl=cache_ttl)

    async def authenticate(self, authorization: str | None, scope: Scope, client: str | None = None) -> Principal:
        """Unauthenticated, PermissionDenied, or Unavailable while the database is away."""
        key_id = (authorization or "").removeprefix(SCHEME)
        stored = await self._cache.get(key_id, lambda: self._current(key_id))
        if stored is None or not stored.alive(self._clock()):
            raise Unauthenticated(
                f"The API key 'chorus_{key_id}_…' that made this batch is expired or revoked; make a new batch with a "
                "good key.",
                code="invalid_api_key",
            )
        tenant = stored.principal.tenant
        if tenant is not None and tenant.suspended:
            raise PermissionDenied(
                f"The tenant '{tenant.id}' is suspended; ask your administrator.", code="tenant_suspended"
            )
        if scope not in stored.principal.scopes:
            raise PermissionDenied(
                f"The API key that made this batch lacks the scope '{scope}'.", code="permission_denied"
            )
        return stored.principal

    async def _current(self, key_id: str) -> StoredKey | None:
        """The key, or the one that took its place."""
        for _ in range(MOST_ROTATIONS):
            stored = await self._keys.find(key_id)
            if stored is None or stored.alive(self._clock()) or stored.revoked_at is not None:
                return stored
            successor = (await self._keys.get(key_id)).replaced_by
            if successor is None:
                return stored
            key_id = successor
        return None
