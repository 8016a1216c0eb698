import asyncio

import pytest

from chorus_gateway.auth import ApiKey, Authenticator, StoredKey, generate_key
from chorus_gateway.errors import PermissionDenied, Unauthenticated, Unavailable
from chorus_gateway.values import Principal, Scope, Tenant

PEPPER = b"a pepper for tests"
NOW = 1_000_000.0


class FakeKeys:
    """A database of keys that counts look-ups and can be away."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredKey] = {}
        self.lookups = 0
        self.away = False

    async def find(self, key_id: str) -> StoredKey | None:
        self.lookups += 1
        found = self.stored.get(key_id)
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("away")
        return found

    def add(self, *scopes: Scope, expires_at: float | None = None, revoked_at: float | None = None) -> ApiKey:
        key = generate_key()
        principal = Principal(key.id, frozenset(scopes), Tenant("acme"))
        self.stored[key.id] = StoredKey(principal, key.fingerprint(PEPPER), expires_at, revoked_at)
        return key


@pytest.fixture
def keys() -> FakeKeys:
    return FakeKeys()


@pytest.fixture
def authenticator(keys: FakeKeys) -> Authenticator:
    return Authenticator(keys, pepper=PEPPER, cache_ttl=60.0, clock=lambda: NOW)


async def test_a_good_key_is_its_tenants(authenticator: Authenticator, keys: FakeKeys) -> None:
    key = keys.add(Scope.INFER)
    principal = await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)
    assert principal.tenant == Tenant("acme")
    assert (await authenticator.authenticate(f"bearer  {key.text} ", Scope.INFER)).key_id == key.id


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer sk-123", "Bearer ' OR 1=1 --", "chorus_without_bearer"],
)
async def test_malformed_keys_never_reach_a_look_up(
    authenticator: Authenticator, keys: FakeKeys, header: str | None
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.authenticate(header, Scope.INFER)
    assert refused.value.code == "invalid_api_key"
    assert keys.lookups == 0


async def test_unknown_expired_revoked_and_forged_keys_read_the_same(
    authenticator: Authenticator, keys: FakeKeys
) -> None:
    good = keys.add(Scope.INFER)
    forged = generate_key()
    keys.stored[forged.id] = keys.stored[good.id]  # the right id with another secret
    bad = [generate_key(), forged, keys.add(Scope.INFER, expires_at=NOW), keys.add(Scope.INFER, revoked_at=NOW - 1)]
    messages = set()
    for key in bad:
        with pytest.raises(Unauthenticated) as refused:
            await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)
        assert key.text not in refused.value.message
        messages.add(refused.value.message.replace(key.id, "ID"))
    assert len(messages) == 1


async def test_a_key_expires_while_it_is_cached(keys: FakeKeys) -> None:
    now = NOW
    authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=60.0, clock=lambda: now)
    header = f"Bearer {keys.add(Scope.INFER, expires_at=NOW + 5).text}"
    await authenticator.authenticate(header, Scope.INFER)
    now = NOW + 5
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(header, Scope.INFER)
    assert keys.lookups == 1


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        (Scope.INFER, Scope.INFER, True),
        (Scope.INFER, Scope.ADAPTERS, False),
        (Scope.INFER, Scope.ADMIN, False),
        (Scope.ADAPTERS, Scope.ADAPTERS, True),
        (Scope.ADAPTERS, Scope.ADMIN, False),
        (Scope.ADMIN, Scope.ADAPTERS, True),
        (Scope.ADMIN, Scope.ADMIN, True),
        (Scope.ADMIN, Scope.INFER, False),
    ],
)
async def test_scopes(authenticator: Authenticator, keys: FakeKeys, held: Scope, wanted: Scope, allowed: bool) -> None:
    header = f"Bearer {keys.add(held).text}"
    if allowed:
        await authenticator.authenticate(header, wanted)
        return
    with pytest.raises(PermissionDenied, match=f"scope '{wanted}'"):
        await authenticator.authenticate(header, wanted)


async def test_an_absent_database_is_not_a_bad_key(authenticator: Authenticator, keys: FakeKeys) -> None:
    header = f"Bearer {keys.add(Scope.INFER).text}"
    keys.away = True
    with pytest.raises(Unavailable):
        await authenticator.authenticate(header, Scope.INFER)
    keys.away = False
    await authenticator.authenticate(header, Scope.INFER)  # the failure was not kept


async def test_one_look_up_for_many_requests_at_once(authenticator: Authenticator, keys: FakeKeys) -> None:
    header = f"Bearer {keys.add(Scope.INFER).text}"
    await asyncio.gather(*(authenticator.authenticate(header, Scope.INFER) for _ in range(100)))
    assert keys.lookups == 1


async def test_a_revocation_during_a_look_up_is_not_overwritten(authenticator: Authenticator, keys: FakeKeys) -> None:
    key = keys.add(Scope.INFER)
    early = asyncio.create_task(authenticator.authenticate(f"Bearer {key.text}", Scope.INFER))
    await asyncio.sleep(0.002)  # the look-up has read the database and not yet returned
    assert keys.lookups == 1
    del keys.stored[key.id]
    authenticator.invalidate(key.id)
    await early
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)


async def test_a_cancelled_request_does_not_fail_those_that_wait_with_it(
    authenticator: Authenticator, keys: FakeKeys
) -> None:
    header = f"Bearer {keys.add(Scope.INFER).text}"
    first, second = (asyncio.create_task(authenticator.authenticate(header, Scope.INFER)) for _ in range(2))
    await asyncio.sleep(0.001)
    first.cancel()
    assert (await second).tenant == Tenant("acme")
