"""Brings the database to this version's tables."""

from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from chorus_gateway.db.database import FAILURES, Database, busy_pragma
from chorus_gateway.errors import StartError

LOCK = 0x63686F727573  # any number that all gateways share
TURN_SECONDS = 10
VERSION_TABLE = "alembic_version_gateway"  # the adapter store may live in the same database


async def migrate(database: Database) -> None:
    """StartError in one sentence when the database cannot be opened, is corrupt or is newer than this gateway."""
    shown = database.engine.url.render_as_string(hide_password=True)
    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(partial(_upgrade, busy_pragma(database.timeout)))
    except FAILURES as error:
        cause = getattr(error, "orig", None) or error
        raise StartError(
            f"The gateway's database {shown} cannot be used: {str(cause).splitlines()[0]}; "
            "restore it from a backup or set CHORUS_GATEWAY_DATABASE_URL to another one."
        ) from error
    except CommandError as error:
        raise StartError(
            f"The gateway's database {shown} has tables of another version of Chorus ({error}); "
            "start the newer version, or restore a backup made by this one."
        ) from error


def _upgrade(busy: str, connection: Connection) -> None:
    _take_turn(busy, connection)
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    """For Alembic's commands on `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _take_turn(busy: str, connection: Connection) -> None:
    """Several gateways may start at once; the lock goes with the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    else:
        for statement in (
            f"PRAGMA busy_timeout={1000 * TURN_SECONDS}",
            "BEGIN IMMEDIATE",
            f"PRAGMA {busy}",
        ):
            connection.exec_driver_sql(statement)
