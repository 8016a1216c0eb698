"""Alembic's entry: runs the revisions on the connection that `migrate.upgrade` hands over."""

from alembic import context

from chorus_adapter_store.catalog.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
