"""Opening a database: migrated, or refused in one sentence."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from chorus_adapter_store.catalog import AliasCatalog, Catalog, Database
from chorus_adapter_store.catalog.migrate import upgrade
from chorus_adapter_store.catalog.schema import VERSION_TABLE, metadata
from chorus_adapter_store.errors import NotFound, StartError, Unavailable
from chorus_adapter_store.values import AdapterName, AliasChange, Sharing, Target
from tests.support.postgres import PostgresDatabase

# A published generation and a deleted one, as the first version wrote them.
_GENERATION = (
    "INSERT INTO generations (id, adapter_id, generation, model, base_digest, digest, rank, modules, config_sha256, "
    "config_size, weights_sha256, weights_size, created_at, retired_at) "
    "VALUES ({0}, 1, {0}, 'demo', 'b', 'd{0}', 4, '[]', 'c{0}', 1, 'w{0}', 2, 1.0, {1})"
)
FIRST_VERSION = (
    "INSERT INTO adapters (id, tenant, name, next_generation) VALUES (1, 'acme', 'tone', 3)",
    _GENERATION.format(1, "NULL"),
    _GENERATION.format(2, "5.0"),
    "INSERT INTO aliases (adapter_id, alias, generation_id) VALUES (1, 'latest', 1)",
)


async def test_the_migrations_make_exactly_the_schema(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return list(compare_metadata(context, metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_of_the_first_version_is_upgraded_with_what_it_holds(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(upgrade, "0001")
        for statement in FIRST_VERSION:
            await connection.execute(text(statement))
    await engine.dispose()
    database = await Database.open(database_url)
    found = (await Catalog(database).resolve("acme", "acme", "tone", "demo", "latest")).generation
    assert (found.generation, found.aliases, found.sharing) == (1, ("latest",), Sharing())
    assert await AliasCatalog(database).changes(AdapterName("acme", "tone"), "latest") == (AliasChange(Target(1), 1.0),)
    with pytest.raises(NotFound):
        await Catalog(database).resolve("acme", "acme", "tone", "demo", "2")
    await database.close()


async def test_opening_again_changes_nothing(database_url: str) -> None:
    for _ in range(2):
        database = await Database.open(database_url)
        assert await Catalog(database).count() == 0
        await database.close()


async def test_a_newer_schema_is_refused(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.write() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StartError, match=r"was written by a newer Chorus \(revision 9999\)"):
        await Database.open(database_url)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StartError, match=r"cannot use the database .*catalog\.db: file is not a database"):
        await Database.open(f"sqlite+aiosqlite:///{path}")


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    await (await Database.open(f"sqlite+aiosqlite:///{path}")).close()
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(StartError, match="restore it from a backup or move it away"):
        await Database.open(f"sqlite+aiosqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://x", "begins with 'mysql'"),
        ("nonsense", "is not a database URL"),
        ("sqlite+aiosqlite://", "is in memory"),
        ("postgresql://user:hunter2@127.0.0.1:1/db", "cannot use the database postgresql"),
    ],
)
async def test_a_wrong_url_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StartError) as caught:
        await Database.open(url)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_database_that_goes_away_is_unavailable_until_it_is_back(postgres_database: PostgresDatabase) -> None:
    database = await Database.open(postgres_database.url)
    postgres_database.execute(
        f"ALTER DATABASE {postgres_database.name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{postgres_database.name}'",
    )
    with pytest.raises(Unavailable, match="did not answer; try again later"):
        await Catalog(database).count()
    postgres_database.execute(f"ALTER DATABASE {postgres_database.name} ALLOW_CONNECTIONS true")
    assert await Catalog(database).count() == 0
    await database.close()


async def test_an_unknown_postgresql_database_is_refused(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(StartError, match=r'cannot use the database .*: .*database "none.*" does not exist'):
        await Database.open(postgres_database.url.replace("/test_", "/none_"))
