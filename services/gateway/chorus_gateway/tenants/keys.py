"""API keys in the database."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from chorus_gateway.auth import ApiKey, StoredKey, generate_key
from chorus_gateway.db import ApiKeyRow, Database, TenantRow
from chorus_gateway.errors import NotFound
from chorus_gateway.values import Principal, Scope


@dataclass(frozen=True, slots=True)
class StoredKeyInfo:
    """All that may be shown of a key after it was made. Times are seconds since 1970."""

    id: str
    tenant_id: str | None
    scopes: frozenset[Scope]
    name: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None


class KeyStore:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database, *, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def find(self, key_id: str) -> StoredKey | None:
        query = select(ApiKeyRow, TenantRow).outerjoin(TenantRow).where(ApiKeyRow.id == key_id)
        async with self._database.session() as session:
            found = (await session.execute(query)).one_or_none()
        if found is None:
            return None
        row, tenant = found
        principal = Principal(row.id, _scopes(row.scopes), tenant.to_tenant() if tenant else None)
        return StoredKey(principal, row.fingerprint, row.expires_at, row.revoked_at)

    async def create(
        self, tenant_id: str, *, scopes: Iterable[Scope], name: str = "", expires_in: float | None = None
    ) -> tuple[ApiKey, StoredKeyInfo]:
        """The only time that the key itself is known. `expires_in` in seconds. NotFound for an unknown tenant."""
        key = generate_key()
        now = time.time()
        row = self._row(key, tenant_id, scopes, name, now)
        row.expires_at = None if expires_in is None else now + expires_in
        try:
            async with self._database.session() as session:
                session.add(row)
        except IntegrityError as error:
            raise _no_tenant(tenant_id) from error
        return key, _info(row)

    async def of_tenant(self, tenant_id: str) -> tuple[StoredKeyInfo, ...]:
        """Oldest first, revoked ones too. NotFound for an unknown tenant."""
        query = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
        async with self._database.session() as session:
            if await session.get(TenantRow, tenant_id) is None:
                raise _no_tenant(tenant_id)
            return tuple(_info(row) for row in await session.scalars(query))

    async def revoke(self, key_id: str) -> StoredKeyInfo:
        """Revoking twice keeps the first time. NotFound for an unknown id."""
        async with self._database.session() as session:
            row = await session.get(ApiKeyRow, key_id)
            if row is None:
                raise NotFound(f"There is no API key with the id '{key_id}'.", param="id")
            row.revoked_at = row.revoked_at or time.time()
        return _info(row)

    async def ensure_admin(self, key: ApiKey) -> StoredKeyInfo:
        """Makes `key` an administrator's key unless it is one; a revoked one stays revoked."""
        async with self._database.session() as session:
            row = await session.get(ApiKeyRow, key.id)
            if row is None:
                row = self._row(key, None, [Scope.ADMIN], "CHORUS_ADMIN_KEY", time.time())
                session.add(row)
            # A changed pepper made the stored fingerprint worthless; whoever sets the environment holds the key.
            row.fingerprint = key.fingerprint(self._pepper)
        return _info(row)

    def _row(
        self, key: ApiKey, tenant_id: str | None, scopes: Iterable[Scope], name: str, created_at: float
    ) -> ApiKeyRow:
        return ApiKeyRow(
            id=key.id,
            tenant_id=tenant_id,
            fingerprint=key.fingerprint(self._pepper),
            scopes=",".join(sorted(set(scopes))),
            name=name,
            created_at=created_at,
        )


def _no_tenant(tenant_id: str) -> NotFound:
    return NotFound(f"There is no tenant '{tenant_id}'; create it by POST /admin/v1/tenants.", param="tenant")


def _scopes(text: str) -> frozenset[Scope]:
    return frozenset(Scope(word) for word in text.split(","))


def _info(row: ApiKeyRow) -> StoredKeyInfo:
    return StoredKeyInfo(
        id=row.id,
        tenant_id=row.tenant_id,
        scopes=_scopes(row.scopes),
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
