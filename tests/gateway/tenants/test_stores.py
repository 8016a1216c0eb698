import asyncio
from pathlib import Path

import pytest

from chorus_gateway.auth import generate_key
from chorus_gateway.db import Database, connect
from chorus_gateway.errors import Conflict, NotFound, Unavailable
from chorus_gateway.tenants import AdapterLimits, KeyStore, TenantStore
from chorus_gateway.values import Band, Limits, Period, Principal, Scope, Tenant

ROUNDS = 4  # races that are run

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


async def test_two_administrators_cannot_lock_one_another_out(any_database: Database) -> None:
    keys = KeyStore(any_database, pepper=b"any")
    made = [(await keys.create(None, scopes=[Scope.ADMIN]))[0].id for _ in range(4)]
    ended = await asyncio.gather(*(keys.revoke(key) for key in made), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in ended) == 1, ended
    assert sum(info.revoked_at is None for info in await keys.of_tenant(None)) == 1


async def test_a_tenant_is_deleted_once_its_keys_are_dead_and_never_comes_back(any_database: Database) -> None:
    tenants, keys = TenantStore(any_database), KeyStore(any_database, pepper=PEPPER)
    await tenants.create(ACME)
    await AdapterLimits(any_database).put("acme", "acme", "sql", Limits(5))
    key, _ = await keys.create("acme", scopes=[Scope.INFER])
    await keys.create("acme", scopes=[Scope.INFER], expires_in=-1)
    with pytest.raises(Conflict, match=f"such as '{key.id}'"):
        await tenants.remove("acme")
    await keys.revoke(key.id)
    await tenants.remove("acme")
    assert await tenants.all() == ()
    assert await AdapterLimits(any_database).of_tenant("acme") == {}
    with pytest.raises(Conflict, match="or did before"):
        await tenants.create(ACME)
    gone = (
        tenants.get("acme"),
        tenants.update("acme", {"weight": 1.0}),
        tenants.remove("acme"),
        keys.create("acme", scopes=[Scope.INFER]),
        keys.of_tenant("acme"),
        AdapterLimits(any_database).put("acme", "acme", "sql", Limits(5)),
    )
    for attempt in gone:
        with pytest.raises(NotFound, match="no tenant 'acme'"):
            await attempt


async def test_no_key_is_made_for_a_tenant_while_it_is_deleted(any_database: Database) -> None:
    tenants, keys = TenantStore(any_database), KeyStore(any_database, pepper=PEPPER)
    for number in range(ROUNDS):
        name = f"t{number}"
        await tenants.create(Tenant(name))
        made, removed = await asyncio.gather(
            keys.create(name, scopes=[Scope.INFER]), tenants.remove(name), return_exceptions=True
        )
        assert isinstance(made, NotFound) != isinstance(removed, Conflict)


async def test_a_key_is_rotated_once(any_database: Database) -> None:
    await TenantStore(any_database).create(ACME)
    keys = KeyStore(any_database, pepper=PEPPER)
    key, _ = await keys.create("acme", scopes=[Scope.INFER])
    ended = await asyncio.gather(*(keys.rotate(key.id, overlap=5) for _ in range(ROUNDS)), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in ended) == ROUNDS - 1
    assert len(await keys.of_tenant("acme")) == 2


async def test_all_that_a_tenant_and_a_key_have_is_kept(any_database: Database) -> None:
    limits = Limits(1, 2, 2**53, 4, 2**53, Period.TOTAL, 6, 2**53, 8)
    tenant = Tenant("acme", limits, 0.5, frozenset({Band.FLEX, Band.DEFAULT}), 99, suspended=True)
    tenants, keys = TenantStore(any_database), KeyStore(any_database, pepper=PEPPER)
    await tenants.create(tenant)
    assert (await tenants.get("acme")).tenant == tenant
    own = Limits(1, 2, 2**53, 4, 2**53, Period.DAY)
    key, info = await keys.create(
        "acme", scopes=[Scope.INFER], limits=own, models=("base", "base@*"), networks=("10.0.0.0/8", "::/0")
    )
    assert await keys.get(key.id) == info
    found = await keys.find(key.id)
    assert found is not None
    assert found.principal == Principal(
        key.id, frozenset({Scope.INFER}), tenant, own, models=frozenset({"base", "base@*"})
    )
    assert [str(network) for network in found.networks or ()] == ["10.0.0.0/8", "::/0"]
    await tenants.update("acme", {"suspended": False, "budget_period": Period.DAY, "budget": 1})
    changed = (await tenants.get("acme")).tenant
    assert (changed.suspended, changed.limits.budget, changed.limits.budget_period) == (False, 1, Period.DAY)
