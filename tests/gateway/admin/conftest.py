from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import grpc.aio
import pytest
from redis.asyncio import Redis

from chorus_gateway.adapters import AdapterClient, Engine
from chorus_gateway.db import Database
from tests.adapter_store.s3 import CREDENTIALS, S3Server, running_s3
from tests.adapter_store.support import BASE
from tests.gateway.support.announce import register, tell
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import TOKEN, FakeStore
from tests.gateway.support.real_store import real_store
from tests.gateway.support.redis_server import RedisServer

FillBucket = Callable[[str, Mapping[str, bytes]], None]
Announce = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def redis_of_real_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def s3_of_real_store() -> Iterator[S3Server]:
    with running_s3() as server:
        server.make_bucket("adapters")
        yield server


@pytest.fixture(scope="session")
def real_store_address(
    tmp_path_factory: pytest.TempPathFactory, redis_of_real_store: RedisServer, s3_of_real_store: S3Server
) -> Iterator[str]:
    settings = {"CHORUS_IMPORT_BUCKETS": "adapters", "CHORUS_S3_ENDPOINT_URL": s3_of_real_store.url, **CREDENTIALS}
    with real_store(tmp_path_factory.mktemp("store"), redis_of_real_store, settings) as address:
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


# The real one on one worker: else each would start a store, its Redis and its bucket.
@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.xdist_group("real-store"))])
def store_address(request: pytest.FixtureRequest, fake_store: FakeStore) -> str:
    if request.param == "fake":
        return fake_store.address
    address: str = request.getfixturevalue("real_store_address")
    return address


@pytest.fixture
def fill_bucket(request: pytest.FixtureRequest, store_address: str, fake_store: FakeStore) -> FillBucket:
    """Puts an adapter's files below a prefix of s3://adapters, which the store may read."""
    if store_address == fake_store.address:
        return lambda prefix, files: fake_store.bucket.update({f"s3://adapters/{prefix}": dict(files)})
    server: S3Server = request.getfixturevalue("s3_of_real_store")

    def fill(prefix: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            server.put("adapters", f"{prefix}/{file}", content)

    return fill


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
