"""What a released migration does is frozen: databases exist that ran it and will not run it again. What must
change becomes the next migration."""

import hashlib
from collections.abc import Iterator
from io import StringIO

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from deploy.migrate import COMMON_SCHEMA, schema_of
from deploy.migrations import Schema
from deploy.services import SERVICES


def digests() -> dict[str, str]:
    """ "<schema>:<revision>" -> SHA-256 of the SQL that the migration sends."""
    return {
        f"{schema.name}:{script.revision}": hashlib.sha256(sql_of(script).encode()).hexdigest()
        for schema in (COMMON_SCHEMA, *map(schema_of, SERVICES))
        for script in scripts_of(schema)
    }


def changed(released: dict[str, str]) -> list[str]:
    """Those released that do something else by now, or are not there any more."""
    now = digests()
    return sorted(name for name, digest in released.items() if now.get(name) != digest)


def scripts_of(schema: Schema) -> Iterator[Script]:
    """The migrations of a schema, the first one first."""
    yield from list(ScriptDirectory.from_config(schema.config()).walk_revisions())[::-1]


def sql_of(script: Script) -> str:
    """The SQL that a migration sends, as far as it does not depend on what it finds in the database."""
    written = StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with Operations.context(context):
        script.module.upgrade()
    return written.getvalue()
