"""From the Authorization header to who asks."""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chorus_gateway.auth.keys import ApiKey, parse_key
from chorus_gateway.caching import TtlCache
from chorus_gateway.errors import PermissionDenied, Unauthenticated
from chorus_gateway.values import Principal, Scope

# A scope's holder may also do what these scopes allow.
IMPLIED = {Scope.ADMIN: frozenset({Scope.ADMIN, Scope.ADAPTERS})}


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database knows it."""

    principal: Principal
    fingerprint: bytes
    expires_at: float | None = None  # seconds since 1970
    revoked_at: float | None = None

    def alive(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyFinder(Protocol):
    async def find(self, key_id: str) -> StoredKey | None:
        """Unavailable when the database does not answer."""
        ...


class Authenticator:
    def __init__(
        self, keys: KeyFinder, *, pepper: bytes, cache_ttl: float, clock: Callable[[], float] = time.time
    ) -> None:
        """`cache_ttl` in seconds bounds how long a revoked key lives on when no event reaches this process."""
        self._keys = keys
        self._pepper = pepper
        self._clock = clock
        self._cache: TtlCache[str, StoredKey | None] = TtlCache(ttl=cache_ttl)

    async def authenticate(self, authorization: str | None, scope: Scope) -> Principal:
        """Unauthenticated without a valid key, PermissionDenied when it lacks `scope`, Unavailable when the database
        is away: a client must not be told that its key is wrong when nobody could look."""
        key = _bearer(authorization)
        stored = await self._cache.get(key.id, lambda: self._keys.find(key.id))
        expected = stored.fingerprint if stored else bytes(32)
        matches = hmac.compare_digest(key.fingerprint(self._pepper), expected)
        if stored is None or not matches or not stored.alive(self._clock()):
            raise _refused(key.id)
        if not _allows(stored.principal, scope):
            raise PermissionDenied(
                f"Your API key lacks the scope '{scope}' that this route needs; use a key that has it.",
                code="permission_denied",
            )
        return stored.principal

    def invalidate(self, key_id: str) -> None:
        self._cache.invalidate(key_id)

    def invalidate_all(self) -> None:
        """For a tenant's change, or when events may have been missed."""
        self._cache.clear()


def _bearer(authorization: str | None) -> ApiKey:
    scheme, _, text = (authorization or "").strip().partition(" ")
    if not text.strip():
        raise Unauthenticated(
            "You did not provide an API key; send it in an Authorization header, as 'Authorization: Bearer YOUR_KEY'.",
            code="invalid_api_key",
        )
    key = parse_key(text.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Unauthenticated(
            "The API key is malformed: a key is 'chorus_', 12 characters, '_' and 38 characters; copy it once more.",
            code="invalid_api_key",
        )
    return key


def _refused(key_id: str) -> Unauthenticated:
    # Unknown, expired and revoked read the same: who holds no valid key learns nothing about it.
    return Unauthenticated(
        f"The API key 'chorus_{key_id}_…' is unknown, expired or revoked; ask your administrator for a new one.",
        code="invalid_api_key",
    )


def _allows(principal: Principal, scope: Scope) -> bool:
    return any(scope in IMPLIED.get(held, {held}) for held in principal.scopes)
