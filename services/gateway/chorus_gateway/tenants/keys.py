"""API keys in the database."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chorus_gateway.auth import ApiKey, Network, StoredKey, Use, generate_key, parse_network
from chorus_gateway.db import ApiKeyRow, Database, TenantRow
from chorus_gateway.errors import Conflict, NotFound
from chorus_gateway.tenants.columns import set_limits, words, words_text
from chorus_gateway.tenants.store import tenant_row
from chorus_gateway.values import Limits, Principal, Scope


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may."""

    scopes: frozenset[Scope]
    name: str = ""
    limits: Limits = field(default_factory=Limits)
    models: tuple[str, ...] | None = None  # as in Principal.models
    networks: tuple[str, ...] | None = None  # CIDR; None is any


@dataclass(frozen=True, slots=True)
class StoredKeyInfo:
    """All that may be shown of a key after it was made. Times are seconds since 1970."""

    id: str
    tenant_id: str | None
    terms: KeyTerms
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None  # some seconds late
    replaced_by: str | None  # the id of the key that rotation made of this one

    @property
    def scopes(self) -> frozenset[Scope]:
        return self.terms.scopes


class KeyStore:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database, *, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def find(self, key_id: str) -> StoredKey | None:
        query = select(ApiKeyRow, TenantRow).outerjoin(TenantRow).where(ApiKeyRow.id == key_id)
        async with self._database.session() as session:
            found = (await session.execute(query)).one_or_none()
        return None if found is None else _stored(*found)

    async def create(
        self,
        tenant_id: str | None,
        *,
        scopes: Iterable[Scope],
        name: str = "",
        expires_in: float | None = None,
        limits: Limits | None = None,
        models: tuple[str, ...] | None = None,
        networks: tuple[str, ...] | None = None,
    ) -> tuple[ApiKey, StoredKeyInfo]:
        """The only time that the key itself is known. Without a tenant it is an administrator's. `expires_in` in
        seconds. NotFound for an unknown tenant."""
        key, now = generate_key(), time.time()
        terms = KeyTerms(frozenset(scopes), name, limits or Limits(), models, networks)
        row = self._row(key, tenant_id, terms, now)
        row.expires_at = None if expires_in is None else now + expires_in
        async with self._database.exclusive() as session:
            if tenant_id is not None:
                await tenant_row(session, tenant_id)
            session.add(row)
        return key, _info(row)

    async def of_tenant(self, tenant_id: str | None) -> tuple[StoredKeyInfo, ...]:
        """Oldest first, revoked ones too; administrators' without a tenant. NotFound for an unknown tenant."""
        query = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
        async with self._database.session() as session:
            if tenant_id is not None:
                await tenant_row(session, tenant_id)
            return tuple(_info(row) for row in await session.scalars(query))

    async def get(self, key_id: str) -> StoredKeyInfo:
        """NotFound for an unknown id."""
        async with self._database.session() as session:
            return _info(await _row(session, key_id))

    async def change(self, key_id: str, changes: Mapping[str, object]) -> StoredKeyInfo:
        """`changes` are columns by name: `name`, the limits, `models` and `networks` (as tuples). NotFound for an
        unknown id."""
        async with self._database.exclusive() as session:
            row = await _row(session, key_id)
            for column, value in changes.items():
                setattr(row, column, words_text(value) if isinstance(value, tuple) else value)
        return _info(row)

    async def rotate(self, key_id: str, *, overlap: float) -> tuple[ApiKey, StoredKeyInfo]:
        """A new key with the same terms, good for as long as the old one was when it was made. The old one is good for
        `overlap` more seconds at most. Conflict where it is not good any more, or was rotated before."""
        key, now = generate_key(), time.time()
        async with self._database.exclusive() as session:
            old = await _row(session, key_id)
            if not _alive(old, now) or old.replaced_by is not None:
                why = f"was replaced by '{old.replaced_by}'" if old.replaced_by else "is expired or revoked"
                raise Conflict(f"The API key '{key_id}' {why}: rotate one that is good, or make a new one.", param="id")
            new = self._row(key, old.tenant_id, _info(old).terms, now)
            new.expires_at = None if old.expires_at is None else now + old.expires_at - old.created_at
            old.expires_at = min(old.expires_at or float("inf"), now + overlap)
            old.replaced_by = key.id
            session.add(new)
        return key, _info(new)

    async def revoke(self, key_id: str) -> StoredKeyInfo:
        """Revoking twice keeps the first time. NotFound for an unknown id, Conflict for the last of the
        administrators' keys that are good: nobody could make another."""
        now = time.time()
        async with self._database.exclusive() as session:
            row = await _row(session, key_id)
            if row.tenant_id is None and _alive(row, now) and not await _another_administrator(session, key_id, now):
                raise Conflict(
                    f"The API key '{key_id}' is the last administrator's key that is good: make another by POST "
                    "/admin/v1/keys before you revoke it.",
                    param="id",
                )
            row.revoked_at = row.revoked_at or now
        return _info(row)

    async def ensure_admin(self, key: ApiKey) -> StoredKeyInfo:
        """Makes `key` an administrator's key unless it is one; a revoked one stays revoked."""
        async with self._database.exclusive() as session:
            row = await session.get(ApiKeyRow, key.id)
            if row is None:
                terms = KeyTerms(frozenset({Scope.ADMIN}), "CHORUS_ADMIN_KEY")
                row = self._row(key, None, terms, time.time())
                session.add(row)
            # A changed pepper made the stored fingerprint worthless; whoever sets the environment holds the key.
            row.fingerprint = key.fingerprint(self._pepper)
        return _info(row)

    async def note_uses(self, uses: Mapping[str, Use]) -> None:
        """By key id; the latest stays. A use that brings a fingerprint moves its key to this process's pepper."""
        table = ApiKeyRow.__table__
        used = (
            update(ApiKeyRow)
            .where(table.c.id == bindparam("key"))
            .where(or_(table.c.last_used_at.is_(None), table.c.last_used_at < bindparam("at")))
            .values(last_used_at=bindparam("at"))
        )
        moved = update(ApiKeyRow).where(table.c.id == bindparam("key")).values(fingerprint=bindparam("print"))
        ordered = sorted(uses.items())  # in one order everywhere, so that no two gateways wait for one another
        prints = [{"key": key_id, "print": use.fingerprint} for key_id, use in ordered if use.fingerprint]
        async with self._database.session() as session:
            connection = await session.connection()
            await connection.execute(used, [{"key": key_id, "at": use.at} for key_id, use in ordered])
            if prints:
                await connection.execute(moved, prints)

    def _row(self, key: ApiKey, tenant_id: str | None, terms: KeyTerms, created_at: float) -> ApiKeyRow:
        row = ApiKeyRow(
            id=key.id,
            tenant_id=tenant_id,
            fingerprint=key.fingerprint(self._pepper),
            scopes=",".join(sorted(terms.scopes)),
            name=terms.name,
            created_at=created_at,
            models=words_text(terms.models),
            networks=words_text(terms.networks),
        )
        set_limits(row, terms.limits)
        return row


async def _row(session: AsyncSession, key_id: str) -> ApiKeyRow:
    row = await session.get(ApiKeyRow, key_id) if key_id.isprintable() else None
    if row is None:
        raise NotFound(f"There is no API key with the id '{key_id}'.", param="id")
    return row


async def _another_administrator(session: AsyncSession, key_id: str, now: float) -> bool:
    query = select(ApiKeyRow).where(ApiKeyRow.tenant_id.is_(None), ApiKeyRow.id != key_id)
    return any(_alive(row, now) for row in await session.scalars(query))


def _alive(row: ApiKeyRow, now: float) -> bool:
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def _stored(row: ApiKeyRow, tenant: TenantRow | None) -> StoredKey:
    models = words(row.models)
    principal = Principal(
        key_id=row.id,
        scopes=_scopes(row.scopes),
        tenant=tenant.to_tenant() if tenant else None,
        limits=row.to_limits(),
        models=None if models is None else frozenset(models),
    )
    # A deleted tenant's keys were all dead when it was deleted.
    revoked_at = row.revoked_at or (tenant.deleted_at if tenant else None)
    return StoredKey(principal, row.fingerprint, row.expires_at, revoked_at, _networks(row.networks))


def _networks(text: str | None) -> tuple[Network, ...] | None:
    parts = words(text)
    return None if parts is None else tuple(parse_network(part) for part in parts)


def _scopes(text: str) -> frozenset[Scope]:
    return frozenset(Scope(word) for word in text.split(","))


def _info(row: ApiKeyRow) -> StoredKeyInfo:
    return StoredKeyInfo(
        id=row.id,
        tenant_id=row.tenant_id,
        terms=KeyTerms(_scopes(row.scopes), row.name, row.to_limits(), words(row.models), words(row.networks)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        replaced_by=row.replaced_by,
    )
