import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from chorus_gateway.db import Base, Database, connect, migrate
from chorus_gateway.db.migrate import VERSION_TABLE, alembic_config
from chorus_gateway.errors import StartError
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Limits, Principal, Scope, Tenant


async def test_migrations_make_the_tables_that_the_models_describe(any_database: Database) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}), Base.metadata
        )

    async with any_database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    before = await schema(database)
    await migrate(database)
    assert await schema(database) == before


async def schema(database: Database) -> list[str]:
    query = f"SELECT sql FROM sqlite_master UNION ALL SELECT version_num FROM {VERSION_TABLE}"
    async with database.session() as session:
        return [str(row) for row in (await session.execute(text(query))).scalars()]


async def test_a_database_of_the_first_version_keeps_its_tenants(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "gateway.db") as connection:
        connection.execute(
            "CREATE TABLE tenants (id VARCHAR(64) PRIMARY KEY NOT NULL, weight DOUBLE NOT NULL, requests_per_minute "
            "INTEGER, tokens_per_minute INTEGER, concurrent_requests INTEGER, created_at DOUBLE NOT NULL)"
        )
        connection.execute("INSERT INTO tenants VALUES ('acme', 2.0, 60, NULL, NULL, 7.0)")
        connection.execute(
            "CREATE TABLE api_keys (id VARCHAR(12) PRIMARY KEY NOT NULL, tenant_id VARCHAR(64), fingerprint BLOB NOT "
            "NULL, scopes VARCHAR(64) NOT NULL, name VARCHAR(128) NOT NULL, created_at DOUBLE NOT NULL, expires_at "
            "DOUBLE, revoked_at DOUBLE, FOREIGN KEY(tenant_id) REFERENCES tenants (id))"
        )
        connection.execute(
            "INSERT INTO api_keys VALUES ('abcdefghijkl', 'acme', x'00', 'infer', 'ci', 8.0, NULL, NULL)"
        )
        connection.execute(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
        connection.execute(f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")
    connection.close()
    database = connect(f"sqlite+aiosqlite:///{tmp_path}/gateway.db")
    await migrate(database)
    assert (await TenantStore(database).get("acme")).tenant == Tenant("acme", Limits(requests_per_minute=60), 2.0)
    kept = await KeyStore(database, pepper=b"any").find("abcdefghijkl")
    assert kept is not None
    assert kept.principal == Principal("abcdefghijkl", frozenset({Scope.INFER}), Tenant("acme", Limits(60), 2.0))
    await database.close()


async def test_gateways_that_start_at_once_take_turns(tmp_path: Path) -> None:
    """The other one here is only a transaction, which lasts longer than any request would wait for it."""
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        database = connect(f"sqlite+aiosqlite:///{tmp_path}/gateway.db")
        migration = asyncio.create_task(migrate(database))
        await asyncio.sleep(1.8)
        assert not migration.done()
        other.execute("COMMIT")
        await migration
    await database.close()


async def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    database = connect(f"sqlite+aiosqlite:///{tmp_path}/a/b/gateway.db")
    await migrate(database)
    await database.close()
    assert (tmp_path / "a/b/gateway.db").exists()


async def test_a_corrupt_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"this is no database at all, " * 100)
    await refused(tmp_path / "gateway.db", "file is not a database")


async def test_a_database_of_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "gateway.db") as connection:
        connection.execute(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
        connection.execute(f"INSERT INTO {VERSION_TABLE} VALUES ('9999')")
    connection.close()
    await refused(tmp_path / "gateway.db", "another version of Chorus")


async def test_a_database_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").mkdir()
    await refused(tmp_path / "gateway.db", "unable to open database file")


async def refused(path: Path, words: str) -> None:
    before = set(threading.enumerate())
    database = connect(f"sqlite+aiosqlite:///{path}")
    with pytest.raises(StartError, match=words) as error:
        await migrate(database)
    await database.close()
    # The thread of a connection that never opened ends by itself, and tells the loop, which must still be there.
    for thread in set(threading.enumerate()) - before:
        if thread.name.endswith("(_connection_worker_thread)"):
            await asyncio.to_thread(thread.join, 60)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


async def test_the_schema_can_be_taken_back_and_made_again(any_database: Database) -> None:
    def back(connection: Connection) -> list[str]:
        command.downgrade(alembic_config(connection), "base")
        return inspect(connection).get_table_names()

    async with any_database.engine.begin() as connection:
        assert await connection.run_sync(back) == [VERSION_TABLE]
    await migrate(any_database)
    await TenantStore(any_database).create(Tenant("acme"))
