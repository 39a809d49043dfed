"""What every migrations/env.py does: one schema, one version table in it, one transaction per migration."""

from typing import Any

from alembic import context
from sqlalchemy import MetaData


def run(schema: str, metadata: MetaData | None) -> None:
    """Run with the connection that `deploy.migrate` put into the configuration."""
    connection: Any = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=schema,
        include_schemas=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
