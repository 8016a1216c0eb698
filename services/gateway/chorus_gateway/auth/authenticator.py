"""From the Authorization header to who asks."""

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chorus_gateway.auth.addresses import Network, contains, parse_address
from chorus_gateway.auth.keys import ApiKey, parse_key
from chorus_gateway.auth.last_used import LastUsed
from chorus_gateway.caching import TtlCache
from chorus_gateway.errors import PermissionDenied, Unauthenticated
from chorus_gateway.values import Principal, Scope

# A scope's holder may also do what these scopes allow.
IMPLIED = {Scope.ADMIN: frozenset({Scope.ADMIN, Scope.ADAPTERS})}
NOBODY = bytes(32)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database knows it."""

    principal: Principal
    fingerprint: bytes
    expires_at: float | None = None  # seconds since 1970
    revoked_at: float | None = None
    networks: tuple[Network, ...] | None = None  # that it may be used from; None is any

    def alive(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyFinder(Protocol):
    async def find(self, key_id: str) -> StoredKey | None:
        """Unavailable when the database does not answer."""
        ...


class Authenticator:
    def __init__(
        self,
        keys: KeyFinder,
        *,
        pepper: bytes,
        cache_ttl: float,
        previous_peppers: Sequence[bytes] = (),
        last_used: LastUsed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cache_ttl` in seconds bounds how long a revoked key lives on when no event reaches this process. Keys that
        are stored under one of `previous_peppers` are good too."""
        self._keys = keys
        self._peppers = (pepper, *previous_peppers)
        self._last_used = last_used
        self._clock = clock
        self._cache: TtlCache[str, StoredKey | None] = TtlCache(ttl=cache_ttl)

    async def authenticate(self, authorization: str | None, scope: Scope, client: str | None = None) -> Principal:
        """`client` is the address that the request comes from, empty or None where nobody knows it.

        Unauthenticated without a valid key, PermissionDenied when it lacks `scope`, may not be used from `client` or
        its tenant is suspended, Unavailable when the database is away: a client must not be told that its key is
        wrong when nobody could look."""
        key = _bearer(authorization)
        stored = await self._cache.get(key.id, lambda: self._keys.find(key.id))
        now = self._clock()
        fingerprints = [key.fingerprint(pepper) for pepper in self._peppers]
        expected = stored.fingerprint if stored else NOBODY
        matches = [hmac.compare_digest(fingerprint, expected) for fingerprint in fingerprints]
        if stored is None or not any(matches) or not stored.alive(now):
            raise _refused(key.id)
        _check(stored, scope, client)
        if self._last_used is not None:
            self._last_used.note(key.id, now, None if matches[0] else fingerprints[0])
        return stored.principal

    def invalidate(self, key_id: str) -> None:
        self._cache.invalidate(key_id)

    def invalidate_all(self) -> None:
        """For a tenant's change, or when events may have been missed."""
        self._cache.clear()


def _check(stored: StoredKey, scope: Scope, client: str | None) -> None:
    """What a valid key may not do all the same."""
    if stored.networks is not None and not contains(stored.networks, parse_address(client or "")):
        raise PermissionDenied(
            f"Your API key may not be used from the address {client or 'that this request comes from'}; use one of "
            "its networks, or ask your administrator to add yours.",
            code="address_not_allowed",
        )
    tenant = stored.principal.tenant
    if tenant is not None and tenant.suspended:
        raise PermissionDenied(
            f"The tenant '{tenant.id}' is suspended; ask your administrator.", code="tenant_suspended"
        )
    if not _allows(stored.principal, scope):
        raise PermissionDenied(
            f"Your API key lacks the scope '{scope}' that this route needs; use a key that has it.",
            code="permission_denied",
        )


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
