"""How soon a change of a key or its tenant holds everywhere: two gateway workers on one database, at real lifetimes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from chorus_gateway.auth import ApiKey, Authenticator, AuthEvents
from chorus_gateway.background import running
from chorus_gateway.config import Settings
from chorus_gateway.db import Database, connect
from chorus_gateway.errors import PermissionDenied, Unauthenticated, Unavailable
from chorus_gateway.prices import Prices
from chorus_gateway.tenants import AdapterLimits, KeyStore, TenantStore, Terms
from chorus_gateway.values import Scope, Tenant
from tests.gateway.auth.test_auth_events import subscribers
from tests.gateway.conftest import PATIENCE
from tests.gateway.support.redis_server import RedisServer, redis_client

PEPPER = b"a pepper for tests"
TTL = Settings.model_fields["auth_cache_ttl"].default
SECOND = 1.0  # what is promised; it is TTL and one look-up
BUSY = 30.0  # what a busy machine may make of it here
ASKING = 0.01  # seconds between a client's requests


@dataclass
class Worker:
    keys: KeyStore
    tenants: TenantStore
    authenticator: Authenticator
    events: AuthEvents

    async def ask(self, key: ApiKey) -> None:
        await self.authenticator.authenticate(f"Bearer {key.text}", Scope.INFER)


@asynccontextmanager
async def worker(database: Database, redis: Redis, ttl: float = TTL) -> AsyncIterator[Worker]:
    own = connect(database.engine.url.render_as_string(hide_password=False), PATIENCE)
    keys, terms = KeyStore(own, pepper=PEPPER), Terms(Prices(own), AdapterLimits(own), cache_ttl=ttl)
    authenticator = Authenticator(keys, pepper=PEPPER, cache_ttl=ttl)
    events = AuthEvents(redis, authenticator, terms)
    async with running(events.listen(), failed=lambda: None):
        yield Worker(keys, TenantStore(own), authenticator, events)
    await own.close()


async def new_key(worker: Worker) -> ApiKey:
    await worker.tenants.create(Tenant("acme"))
    return (await worker.keys.create("acme", scopes=[Scope.INFER]))[0]


async def until_refused(worker: Worker, key: ApiKey, error: type[Exception] = Unauthenticated) -> float:
    """Seconds of a client that goes on asking."""
    began = time.monotonic()
    while True:
        try:
            await worker.ask(key)
        except error:
            return time.monotonic() - began
        assert time.monotonic() - began < 2 * BUSY
        await asyncio.sleep(ASKING)


async def asked_for_a_while(worker: Worker, key: ApiKey) -> None:
    """So that what is kept of the key is loaded anew again and again."""
    for _ in range(20):
        await worker.ask(key)
        await asyncio.sleep(TTL / 15)


def test_the_default_lifetime_is_below_a_second() -> None:
    assert TTL < SECOND


@pytest.mark.parametrize("ttl", [TTL, 3600.0])
async def test_a_revocation_reaches_both_workers_by_event(redis: Redis, database: Database, ttl: float) -> None:
    async with worker(database, redis, ttl) as here, worker(database, redis, ttl) as there:
        key = await new_key(here)
        await subscribers(redis, 2)
        for each in (here, there):
            await each.ask(key)
        await here.keys.revoke(key.id)
        await here.events.key_changed(key.id)
        with pytest.raises(Unauthenticated):
            await here.ask(key)  # at once where it was made
        assert await until_refused(there, key) < BUSY


Change = Callable[[Worker, ApiKey], Awaitable[object]]
CHANGES: dict[str, tuple[Change, type[Exception]]] = {
    "revoke": (lambda here, key: here.keys.revoke(key.id), Unauthenticated),
    "rotate": (lambda here, key: here.keys.rotate(key.id, overlap=0), Unauthenticated),
    "suspend": (lambda here, _: here.tenants.update("acme", {"suspended": True}), PermissionDenied),
    "network": (lambda here, key: here.keys.change(key.id, {"networks": ("10.0.0.0/8",)}), PermissionDenied),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_reaches_a_worker_that_no_event_reaches(
    own_redis_server: RedisServer, database: Database, change: str
) -> None:
    make, error = CHANGES[change]
    async with redis_client(own_redis_server.url) as redis:
        own_redis_server.stop()
        async with worker(database, redis) as here, worker(database, redis) as there:
            key = await new_key(here)
            await asked_for_a_while(there, key)
            with pytest.raises(Unavailable):
                await here.events.require()  # by which administrators' writes fail while Redis is away
            await make(here, key)
            assert await until_refused(there, key, error) < BUSY


async def test_without_a_database_a_key_is_not_called_wrong(redis: Redis, database: Database) -> None:
    async with worker(database, redis) as here:
        key = await new_key(here)
        await here.ask(key)
        here.keys._database._timeout = 0
        assert await until_refused(here, key, Unavailable) < BUSY
        with pytest.raises(Unavailable):
            await here.ask(key)
        here.keys._database._timeout = PATIENCE
        await here.ask(key)
