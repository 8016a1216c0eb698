"""A real Redis, empty for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tests.adapter_store.service.conftest import RedisServer


@pytest.fixture(scope="module")
def redis_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(redis_of_module: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_of_module.url, decode_responses=True, protocol=2) as client:
        await client.flushall()
        yield client
