import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from chorus_gateway.auth import ApiKey, Authenticator, AuthEvents
from chorus_gateway.background import running
from chorus_gateway.db import Database
from chorus_gateway.errors import Unauthenticated, Unavailable
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Limits, Scope, Tenant
from tests.gateway.support.redis_server import RedisServer, redis_client

PEPPER = b"a pepper for tests"


@dataclass
class CountingTerms:
    invalidations: int = 0

    def invalidate(self) -> None:
        self.invalidations += 1


@asynccontextmanager
async def listening(
    redis: Redis, authenticator: Authenticator, terms: CountingTerms | None = None
) -> AsyncIterator[AuthEvents]:
    events = AuthEvents(redis, authenticator, terms or CountingTerms())
    async with running(events.listen(), failed=lambda: None):
        yield events


async def subscribers(redis: Redis, count: int) -> None:
    for _ in range(3000):
        [(_, number)] = await redis.pubsub_numsub("chorus:auth")
        if number == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody subscribed")


async def eventually(holds: Callable[[], object]) -> None:
    for _ in range(3000):
        with contextlib.suppress(AssertionError, Unauthenticated):
            result = holds()
            if asyncio.iscoroutine(result):
                await result
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to hold")


async def a_key(database: Database) -> tuple[KeyStore, ApiKey]:
    await TenantStore(database).create(Tenant("acme"))
    keys = KeyStore(database, pepper=PEPPER)
    key, _ = await keys.create("acme", scopes=[Scope.INFER])
    return keys, key


async def test_a_revocation_reaches_another_gateway_by_event(redis: Redis, database: Database) -> None:
    keys, key = await a_key(database)
    here, there = (Authenticator(keys, pepper=PEPPER, cache_ttl=3600) for _ in range(2))
    header = f"Bearer {key.text}"
    async with listening(redis, here) as events, listening(redis, there):
        await subscribers(redis, 2)
        await there.authenticate(header, Scope.INFER)
        await keys.revoke(key.id)
        await there.authenticate(header, Scope.INFER)  # still cached: the event is what ends it
        await events.key_changed(key.id)

        async def refused() -> None:
            try:
                await there.authenticate(header, Scope.INFER)
            except Unauthenticated:
                return
            raise AssertionError

        await eventually(refused)


async def test_changed_limits_reach_another_gateway_by_event(redis: Redis, database: Database) -> None:
    keys, key = await a_key(database)
    here, there = (Authenticator(keys, pepper=PEPPER, cache_ttl=3600) for _ in range(2))
    async with listening(redis, here) as events, listening(redis, there):
        await subscribers(redis, 2)
        await there.authenticate(f"Bearer {key.text}", Scope.INFER)
        await TenantStore(database).update("acme", {"tokens_per_minute": 7})
        await events.tenant_changed("acme")

        async def changed() -> None:
            principal = await there.authenticate(f"Bearer {key.text}", Scope.INFER)
            assert principal.tenant == Tenant("acme", Limits(tokens_per_minute=7))

        await eventually(changed)


async def test_changed_prices_reach_another_gateway_by_event(redis: Redis, database: Database) -> None:
    keys, _ = await a_key(database)
    authenticator, there = Authenticator(keys, pepper=PEPPER, cache_ttl=3600), CountingTerms()
    async with listening(redis, authenticator) as events, listening(redis, authenticator, there):
        await subscribers(redis, 2)

        def since(count: int) -> None:
            assert there.invalidations == count

        await eventually(lambda: since(1))  # what was missed before the subscription
        await events.terms_changed()
        await eventually(lambda: since(2))


async def test_a_revocation_without_redis_takes_effect_when_the_cache_lapses(database: Database) -> None:
    keys, key = await a_key(database)
    authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=0.05)
    await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)
    await keys.revoke(key.id)
    await asyncio.sleep(0.06)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)


async def test_events_are_followed_again_after_a_restart(own_redis_server: RedisServer, database: Database) -> None:
    keys, key = await a_key(database)
    authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=3600)
    async with redis_client(own_redis_server.url) as redis, listening(redis, authenticator) as events:
        await subscribers(redis, 1)
        own_redis_server.stop()
        with pytest.raises(Unavailable):
            await events.require()
        await events.key_changed(key.id)  # not raised: the cache's short life stands in
        own_redis_server.start()
        await subscribers(redis, 1)
        await events.require()
