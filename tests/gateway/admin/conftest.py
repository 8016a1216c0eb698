from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest
from redis.asyncio import Redis

from chorus_gateway.adapters import AdapterClient
from chorus_gateway.db import Database
from tests.adapter_store.support import BASE
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import TOKEN, FakeStore
from tests.gateway.support.real_store import real_store
from tests.gateway.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def real_store_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    redis = RedisServer(folder)
    redis.start()
    try:
        with real_store(folder, redis) as address:
            yield address
    finally:
        redis.stop()


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
async def door(database: Database, redis: Redis, fake_store: FakeStore) -> AsyncIterator[Door]:
    async with open_door(database, redis, fake_store.address, model=BASE.name) as door:
        yield door
