"""The catalog's tests run on SQLite and, where its programs are installed, on a PostgreSQL of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chorus_adapter_store.catalog import Database
from tests.support.postgres import PostgresDatabase


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/catalog.db"
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    return database.url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()
