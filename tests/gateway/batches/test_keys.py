"""Batches outlive their key's rotation, and not its end."""

import pytest

from chorus_gateway.batches.keys import SCHEME, KeysOfBatches
from chorus_gateway.db import Database
from chorus_gateway.errors import PermissionDenied, Unauthenticated
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Scope, Tenant


async def test_a_rotated_key_is_followed_and_a_revoked_one_is_refused(database: Database) -> None:
    keys, tenants = KeyStore(database, pepper=b"a pepper of tests"), TenantStore(database)
    await tenants.create(Tenant("acme"))
    key, _ = await keys.create("acme", scopes=[Scope.INFER], networks=("10.0.0.0/8",))
    known = KeysOfBatches(keys, cache_ttl=0)
    name = f"{SCHEME}{key.id}"
    assert (await known.authenticate(name, Scope.INFER)).key_id == key.id
    second, _ = await keys.rotate(key.id, overlap=0)
    third, _ = await keys.rotate(second.id, overlap=0)
    assert (await known.authenticate(name, Scope.INFER)).key_id == third.id
    await tenants.update("acme", {"suspended": True})
    with pytest.raises(PermissionDenied) as suspended:
        await known.authenticate(name, Scope.INFER)
    assert suspended.value.code == "tenant_suspended"
    await tenants.update("acme", {"suspended": False})
    await keys.revoke(third.id)
    for text in (name, f"{SCHEME}{third.id}", f"{SCHEME}nobody", None):
        with pytest.raises(Unauthenticated):
            await known.authenticate(text, Scope.INFER)


async def test_a_key_without_the_scope_is_refused(database: Database) -> None:
    keys = KeyStore(database, pepper=b"a pepper of tests")
    await TenantStore(database).create(Tenant("acme"))
    key, _ = await keys.create("acme", scopes=[Scope.ADAPTERS])
    with pytest.raises(PermissionDenied):
        await KeysOfBatches(keys, cache_ttl=0).authenticate(f"{SCHEME}{key.id}", Scope.INFER)
