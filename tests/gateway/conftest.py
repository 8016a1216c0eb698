"""A real Redis, a real SQLite database and a real PostgreSQL, new for every test that asks for them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from chorus_gateway.db import Database, connect, migrate
from tests.gateway.support.redis_server import RedisServer, redis_client
from tests.support.postgres import PostgresDatabase

PATIENCE = 30.0  # seconds that a database may take on a busy machine


@pytest.fixture(scope="session")
def shared_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """For tests that stop it."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(shared_redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_client(shared_redis_server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = connect(f"sqlite+aiosqlite:///{tmp_path}/gateway.db", PATIENCE)
    await migrate(database)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """One of each kind; PostgreSQL where it is installed."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/gateway.db"
    else:
        server: PostgresDatabase = request.getfixturevalue("postgres_database")
        url = server.url
    database = connect(url, PATIENCE)
    await migrate(database)
    yield database
    await database.close()
