import asyncio
from pathlib import Path

import pytest

from chorus_gateway.auth import generate_key
from chorus_gateway.db import Database, connect
from chorus_gateway.errors import Conflict, NotFound, Unavailable
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Limits, Scope, Tenant

PEPPER = b"a pepper for tests"
ACME = Tenant("acme", Limits(60, 1000, concurrent_requests=4), weight=2.0)


@pytest.fixture
def tenants(database: Database) -> TenantStore:
    return TenantStore(database)


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database, pepper=PEPPER)


async def test_a_tenant_is_kept_as_it_was_made(tenants: TenantStore) -> None:
    await tenants.create(ACME)
    await tenants.create(Tenant("zeta"))
    assert (await tenants.get("acme")).tenant == ACME
    assert [record.tenant.id for record in await tenants.all()] == ["acme", "zeta"]


async def test_an_id_is_taken_once(tenants: TenantStore) -> None:
    await tenants.create(ACME)
    with pytest.raises(Conflict, match="'acme' exists already"):
        await tenants.create(ACME)


async def test_only_what_is_given_changes(tenants: TenantStore) -> None:
    await tenants.create(ACME)
    changed = await tenants.update("acme", {"tokens_per_minute": None, "weight": 5.0})
    assert changed.tenant == Tenant("acme", Limits(60, concurrent_requests=4), weight=5.0)
    assert (await tenants.get("acme")).tenant == changed.tenant
    with pytest.raises(NotFound):
        await tenants.update("nobody", {})


async def test_a_key_is_found_by_its_id_and_stored_only_hashed(
    tenants: TenantStore, keys: KeyStore, tmp_path: Path
) -> None:
    await tenants.create(ACME)
    key, info = await keys.create("acme", scopes=[Scope.INFER, Scope.ADAPTERS], name="ci", expires_in=60)
    found = await keys.find(key.id)
    assert found is not None
    assert found.principal.tenant == ACME
    assert found.principal.scopes == {Scope.INFER, Scope.ADAPTERS}
    assert found.fingerprint == key.fingerprint(PEPPER)
    assert found.expires_at == info.expires_at
    assert info.expires_at is not None
    assert info.expires_at - info.created_at == pytest.approx(60)
    secret = key.text.split("_")[2].encode()
    assert not appears(secret, tmp_path)
    assert await keys.find("unknown") is None


def appears(secret: bytes, folder: Path) -> bool:
    return any(secret in file.read_bytes() for file in folder.iterdir())


async def test_keys_of_a_tenant(tenants: TenantStore, keys: KeyStore) -> None:
    await tenants.create(ACME)
    first, _ = await keys.create("acme", scopes=[Scope.INFER])
    second, _ = await keys.create("acme", scopes=[Scope.INFER])
    assert [info.id for info in await keys.of_tenant("acme")] == [first.id, second.id]
    for attempt in (keys.of_tenant("nobody"), keys.create("nobody", scopes=[Scope.INFER])):
        with pytest.raises(NotFound, match="no tenant 'nobody'"):
            await attempt


async def test_revoking_twice_keeps_the_first_time(tenants: TenantStore, keys: KeyStore) -> None:
    await tenants.create(ACME)
    key, _ = await keys.create("acme", scopes=[Scope.INFER])
    first = await keys.revoke(key.id)
    await asyncio.sleep(0.01)
    assert first.revoked_at is not None
    assert (await keys.revoke(key.id)).revoked_at == first.revoked_at
    with pytest.raises(NotFound):
        await keys.revoke("unknown")


async def test_the_pinned_admin_key_is_made_once_and_stays_revoked(database: Database, keys: KeyStore) -> None:
    key = generate_key()
    first = await keys.ensure_admin(key)
    assert first.scopes == {Scope.ADMIN}
    assert await keys.ensure_admin(key) == first
    repeppered = KeyStore(database, pepper=b"another pepper")
    await repeppered.ensure_admin(key)
    found = await repeppered.find(key.id)
    assert found is not None
    assert found.fingerprint == key.fingerprint(b"another pepper")
    with pytest.raises(Conflict, match="the last administrator's key"):
        await keys.revoke(key.id)
    await keys.create(None, scopes=[Scope.ADMIN])
    await keys.revoke(key.id)
    assert (await keys.ensure_admin(key)).revoked_at is not None


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    database = connect(f"sqlite+aiosqlite:///{tmp_path}/never-migrated.db")
    with pytest.raises(Unavailable):
        await KeyStore(database, pepper=PEPPER).find("x")
    await database.close()
