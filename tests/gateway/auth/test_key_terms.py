"""What a good key may not do all the same, and peppers."""

from dataclasses import replace

import pytest

from chorus_gateway.auth import ApiKey, Authenticator, LastUsed, StoredKey, generate_key, parse_networks
from chorus_gateway.errors import PermissionDenied, Unauthenticated
from chorus_gateway.values import Limits, Principal, Scope, Tenant
from tests.gateway.auth.test_last_used import Book

PEPPER, OLD = b"a pepper for tests", b"the pepper before it"
NOW = 1_000_000.0
UNKNOWN_KEYS = 1_200


class Keys:
    def __init__(self) -> None:
        self.stored: dict[str, StoredKey] = {}
        self.lookups = 0

    async def find(self, key_id: str) -> StoredKey | None:
        self.lookups += 1
        return self.stored.get(key_id)

    def add(self, tenant: Tenant | None = None, pepper: bytes = PEPPER, networks: str | None = None) -> ApiKey:
        key = generate_key()
        principal = Principal(key.id, frozenset({Scope.INFER}), tenant or Tenant("acme"), Limits(3))
        allowed = None if networks is None else parse_networks(networks)
        self.stored[key.id] = StoredKey(principal, key.fingerprint(pepper), networks=allowed)
        return key


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def authenticator(keys: Keys) -> Authenticator:
    return Authenticator(keys, pepper=PEPPER, cache_ttl=60.0, clock=lambda: NOW)


async def test_a_key_may_be_used_from_its_networks_alone(authenticator: Authenticator, keys: Keys) -> None:
    header = f"Bearer {keys.add(networks='10.0.0.0/8, 2001:db8::/32').text}"
    for client in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"):
        await authenticator.authenticate(header, Scope.INFER, client)
    for other in ("11.1.2.3", "::1", "", None, "nonsense"):
        with pytest.raises(PermissionDenied) as refused:
            await authenticator.authenticate(header, Scope.INFER, other)
        assert refused.value.code == "address_not_allowed"


async def test_a_wrong_secret_is_not_told_about_networks(authenticator: Authenticator, keys: Keys) -> None:
    good, forged = keys.add(networks="10.0.0.0/8"), generate_key()
    keys.stored[forged.id] = keys.stored[good.id]
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {forged.text}", Scope.INFER, "11.1.2.3")


async def test_a_suspended_tenants_keys_are_refused_as_such(authenticator: Authenticator, keys: Keys) -> None:
    key = keys.add(Tenant("acme", suspended=True))
    with pytest.raises(PermissionDenied, match="'acme' is suspended") as refused:
        await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)
    assert refused.value.code == "tenant_suspended"


async def test_a_keys_own_limits_come_with_it(authenticator: Authenticator, keys: Keys) -> None:
    principal = await authenticator.authenticate(f"Bearer {keys.add().text}", Scope.INFER)
    assert principal.limits == Limits(requests_per_minute=3)


async def test_keys_under_the_pepper_before_are_good_and_move(keys: Keys) -> None:
    key, forged = keys.add(pepper=OLD), generate_key()
    keys.stored[forged.id] = replace(keys.stored[key.id])
    book = Book()
    last_used = LastUsed(book)
    both = Authenticator(keys, pepper=PEPPER, previous_peppers=[OLD], cache_ttl=60.0, last_used=last_used)
    assert (await both.authenticate(f"Bearer {key.text}", Scope.INFER)).key_id == key.id
    with pytest.raises(Unauthenticated):
        await both.authenticate(f"Bearer {forged.text}", Scope.INFER)
    await last_used.flush()
    assert book.uses[key.id].fingerprint == key.fingerprint(PEPPER)
    with pytest.raises(Unauthenticated):
        await Authenticator(keys, pepper=PEPPER, cache_ttl=60.0).authenticate(f"Bearer {key.text}", Scope.INFER)


async def test_only_good_keys_were_used(keys: Keys) -> None:
    book, good, bad = Book(), keys.add(), generate_key()
    last_used = LastUsed(book)
    authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=60.0, last_used=last_used, clock=lambda: NOW)
    await authenticator.authenticate(f"Bearer {good.text}", Scope.INFER)
    for header, scope in ((f"Bearer {bad.text}", Scope.INFER), (f"Bearer {good.text}", Scope.ADMIN)):
        with pytest.raises((Unauthenticated, PermissionDenied)):
            await authenticator.authenticate(header, scope)
    await last_used.flush()
    assert {key_id: use.at for key_id, use in book.uses.items()} == {good.id: NOW}


async def test_unknown_keys_fill_no_memory_and_push_out_no_good_one(authenticator: Authenticator, keys: Keys) -> None:
    good = f"Bearer {keys.add().text}"
    await authenticator.authenticate(good, Scope.INFER)
    for _ in range(UNKNOWN_KEYS):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(f"Bearer {generate_key().text}", Scope.INFER)
    assert len(authenticator._cache) <= 1_001
    before = keys.lookups
    await authenticator.authenticate(good, Scope.INFER)
    assert keys.lookups == before
