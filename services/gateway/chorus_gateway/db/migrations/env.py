"""Run by Alembic, on the connection that `migrate` opened."""

from alembic import context

from chorus_gateway.db.migrate import VERSION_TABLE
from chorus_gateway.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
