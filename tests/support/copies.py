"""A copy of one service's database as of one moment, and bringing it back: what a backup is."""

from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text

_TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""
_SEQUENCES = """
SELECT sequencename AS name, last_value AS value FROM pg_sequences WHERE schemaname = :schema ORDER BY 1
"""


@dataclass(slots=True)
class SchemaCopy:
    """Every row and the place of every sequence of a schema, of one snapshot. The rows lie in a schema beside
    it that no service knows."""

    schema: str
    sequences: dict[str, int | None] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The schema of the copy."""
        return f"copy_of_{self.schema}"


def take_copy(admin: Engine, schema: str) -> SchemaCopy:
    """Copy a schema. An older copy of it is given up."""
    copy = SchemaCopy(schema)
    with admin.begin() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(text(f"DROP SCHEMA IF EXISTS {copy.place} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {copy.place}"))
        for table in _tables(connection, schema):
            connection.execute(text(f"CREATE TABLE {copy.place}.{table} AS TABLE {schema}.{table}"))
        found = connection.execute(text(_SEQUENCES), {"schema": schema})
        copy.sequences = {row.name: row.value for row in found}
    return copy


def bring_back(admin: Engine, copy: SchemaCopy) -> None:
    """Let the schema be what it was when the copy was taken."""
    schema = copy.schema
    with admin.begin() as connection:
        # As whoever reads a dump does: triggers have done their work.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        tables = _tables(connection, schema)
        connection.execute(text(f"TRUNCATE {', '.join(f'{schema}.{table}' for table in tables)}"))
        for table in tables:
            connection.execute(text(f"INSERT INTO {schema}.{table} SELECT * FROM {copy.place}.{table}"))
        for name, value in copy.sequences.items():
            connection.execute(
                text(f"SELECT setval('{schema}.{name}', :to, :called)"),
                {"to": 1 if value is None else value, "called": value is not None},
            )


def _tables(connection: Connection, schema: str) -> list[str]:
    return list(connection.execute(text(_TABLES), {"schema": schema}).scalars())
