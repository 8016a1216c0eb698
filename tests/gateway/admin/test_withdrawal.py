"""A withdrawal through the real store and Redis, as every gateway worker sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from chorus_gateway.adapters import AdapterClient, UploadHeader, Visibility
from chorus_gateway.background import running
from chorus_gateway.errors import ModelNotFound, Unavailable
from chorus_gateway.models import Resolver
from chorus_gateway.models.events import follow_adapters
from chorus_gateway.values import Tenant
from tests.adapter_store.support import BASE
from tests.gateway.admin.test_store_contract import files
from tests.gateway.support.door import Engines
from tests.gateway.support.fake_store import TOKEN
from tests.gateway.support.real_store import real_store
from tests.gateway.support.redis_server import RedisServer, redis_client

FRIEND = Tenant("friend")
NAME = f"{BASE.name}@acme/sql"


@pytest.fixture
def redis_of_store(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@dataclass(frozen=True)
class Store:
    address: str
    stop: Callable[[], None]


@pytest.fixture
def store(tmp_path: Path, redis_of_store: RedisServer) -> Iterator[Store]:
    with ExitStack() as running_store:
        yield Store(running_store.enter_context(real_store(tmp_path, redis_of_store)), running_store.close)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[AdapterClient]:
    async with grpc.aio.insecure_channel(store.address) as channel:
        yield AdapterClient(channel, token=TOKEN)


async def resolved(worker: Resolver) -> bool:
    try:
        await worker.resolve(FRIEND, NAME)
    except ModelNotFound:
        return False
    return True


async def until(workers: list[Resolver], there: bool) -> None:
    """Asked all the while, as by traffic."""
    async with asyncio.timeout(60):
        while {await resolved(worker) for worker in workers} != {there}:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("redis_away", [False, True])
async def test_a_withdrawal_reaches_every_worker(
    client: AdapterClient, store: Store, redis_of_store: RedisServer, redis_away: bool
) -> None:
    """By the event; where it is lost, because nothing is kept for longer. What was not withdrawn outlasts the store for
    those who hear events."""
    await client.publish(UploadHeader("acme", "sql", BASE.name), files())
    ttl = 0.5 if redis_away else 3600.0
    workers = [Resolver(Engines(BASE.name), client, namespace_secret=b"a secret", cache_ttl=ttl) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for worker in workers:
            redis = await stack.enter_async_context(redis_client(redis_of_store.url))
            await stack.enter_async_context(running(follow_adapters(redis, worker), failed=lambda: None))
        async with redis_client(redis_of_store.url) as redis, asyncio.timeout(60):
            while sum(each["cmd"] == "xread" for each in await redis.client_list()) < len(workers):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)  # until each reads at the stream's end
        await client.set_visibility("acme", "sql", Visibility.SHARED, ["friend"])
        if redis_away:
            redis_of_store.stop()
        await until(workers, there=True)
        await client.set_visibility("acme", "sql", Visibility.PRIVATE, [])
        await until(workers, there=False)
    if not redis_away:
        await outlasts(client, store, redis_of_store)


async def outlasts(client: AdapterClient, store: Store, redis_of_store: RedisServer) -> None:
    worker = Resolver(Engines(BASE.name), client, namespace_secret=b"a secret", cache_ttl=1e-9)
    owner = Tenant("acme")
    async with redis_client(redis_of_store.url) as redis, running(follow_adapters(redis, worker), failed=lambda: None):
        async with asyncio.timeout(60):
            while not worker._cache.outlasting:  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0.01)
        known = await worker.resolve(owner, NAME)
        await asyncio.to_thread(store.stop)
        assert await worker.resolve(owner, NAME) == known
        with pytest.raises(Unavailable):
            await worker.resolve(FRIEND, NAME)
        event: dict[Any, Any] = {"event": "visibility", "tenant": "acme", "name": "sql"}  # of another store
        async with redis_client(redis_of_store.url) as another:
            await another.xadd("chorus:adapters", event)
        async with asyncio.timeout(60):
            while await is_known(worker, owner):  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0.01)


async def is_known(worker: Resolver, tenant: Tenant) -> bool:
    try:
        await worker.resolve(tenant, NAME)
    except Unavailable:
        return False
    return True
