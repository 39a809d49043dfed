"""What every migrations/env.py does: one schema, one version table in it. `deploy.migrations` begins and ends
the transaction of each migration, or gives a connection without one."""

from typing import Any

from alembic import context
from sqlalchemy import MetaData


def run(schema: str, metadata: MetaData | None) -> None:
    """Run with the connection that `deploy.migrations` put into the configuration."""
    attributes = context.config.attributes
    connection: Any = attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=schema,
        include_schemas=True,
        transactional_ddl=attributes["transactional"],
    )
    with context.begin_transaction():
        context.run_migrations()
