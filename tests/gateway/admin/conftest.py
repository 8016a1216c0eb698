from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc.aio
import pytest
from redis.asyncio import Redis

from chorus_gateway.adapters import AdapterClient, Engine
from chorus_gateway.db import Database
from tests.adapter_store.support import BASE
from tests.gateway.support.announce import register, tell
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import TOKEN, FakeStore
from tests.gateway.support.real_store import real_store
from tests.gateway.support.redis_server import RedisServer

Announce = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def redis_of_real_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def real_store_address(tmp_path_factory: pytest.TempPathFactory, redis_of_real_store: RedisServer) -> Iterator[str]:
    with real_store(tmp_path_factory.mktemp("store"), redis_of_real_store) as address:
        yield address


@pytest.fixture
async def fake_store() -> AsyncIterator[FakeStore]:
    store = await FakeStore(BASE.name).start()
    yield store
    await store.stop()


@pytest.fixture
async def fake_client(fake_store: FakeStore) -> AsyncIterator[AdapterClient]:
    async with grpc.aio.insecure_channel(fake_store.address) as channel:
        yield AdapterClient(channel, token=TOKEN)


@pytest.fixture(params=["fake", "real"])
def store_address(request: pytest.FixtureRequest, fake_store: FakeStore) -> str:
    if request.param == "fake":
        return fake_store.address
    address: str = request.getfixturevalue("real_store_address")
    return address


@pytest.fixture
async def announce(
    request: pytest.FixtureRequest, store_address: str, fake_store: FakeStore
) -> AsyncIterator[Announce]:
    """Makes these engines, and no others, the ones that the store sees."""
    if store_address == fake_store.address:

        async def announce(*engines: Engine) -> None:
            tell(fake_store, engines)
    else:
        redis: RedisServer = request.getfixturevalue("redis_of_real_store")

        async def announce(*engines: Engine) -> None:
            await register(redis.url, engines)

    yield announce
    await announce()


@pytest.fixture
async def door(database: Database, redis: Redis, fake_store: FakeStore) -> AsyncIterator[Door]:
    async with open_door(database, redis, fake_store.address, model=BASE.name) as door:
        yield door
