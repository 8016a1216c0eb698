"""A real Redis, a real SQLite database and a real PostgreSQL, new for every test that asks for them."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

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


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database as it is after the migrations, to copy: making it takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "gateway.db"
    _migrate(_sqlite(file))
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Path) -> PostgresDatabase:
    template = PostgresDatabase(postgres, f"template_{uuid4().hex}")
    template.execute(f"CREATE DATABASE {template.name}")
    _migrate(template.url)
    return template


@pytest.fixture
async def database(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Database]:
    shutil.copy(migrated_file, tmp_path / "gateway.db")
    database = connect(_sqlite(tmp_path / "gateway.db"), PATIENCE)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """One of each kind; PostgreSQL where it is installed."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "gateway.db")
        url = _sqlite(tmp_path / "gateway.db")
    else:
        template: PostgresDatabase = request.getfixturevalue("migrated_postgres")
        server = PostgresDatabase(template.socket, f"test_{uuid4().hex}")
        server.execute(f"CREATE DATABASE {server.name} TEMPLATE {template.name}")
        url = server.url
    database = connect(url, PATIENCE)
    yield database
    await database.close()


def _sqlite(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def _migrate(url: str) -> None:
    """In a thread: whoever asks for it may be in a loop already."""

    async def migrated() -> None:
        database = connect(url, PATIENCE)
        await migrate(database)
        await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(migrated()))
    thread.start()
    thread.join()
