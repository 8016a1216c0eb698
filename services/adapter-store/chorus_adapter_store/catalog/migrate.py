"""Brings the schema up to date with Alembic; the revisions are in this package."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from chorus_adapter_store.catalog.schema import VERSION_TABLE


class SchemaTooNew(Exception):
    pass


def upgrade(connection: Connection, revision: str = "head") -> None:
    """In the caller's transaction. Raises SchemaTooNew when the database has a revision that this code lacks."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if current is not None and current not in known:
        raise SchemaTooNew(f"revision {current}")
    command.upgrade(config, revision)
