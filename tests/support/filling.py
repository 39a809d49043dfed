"""Tables filled with many rows at once, by INSERT .. SELECT, whatever their columns are.

Every table of a service's schema gets `rows` rows. A column takes a value that its type makes up from the
row's number `n`, unless the caller knows better; a table that somebody adds is filled without being named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from deploy.services import SERVICES

NOT_FILLED = {
    *("alembic_version", "data_keys", "locks", "comparisons", "confirmations", "witness", "id_secret"),
    "code_channels",
}
"""Not one row more than the release makes, or one a service."""
_TABLES = """
SELECT s.nspname || '.' || t.relname AS name, c.attname AS column, format_type(c.atttypid, NULL) AS type,
    c.atttypmod - 4 AS length, c.attnotnull AS needed, c.attidentity <> '' OR c.atthasdef AS made,
    (SELECT f.confrelid::regclass || '.' || other.attname FROM pg_constraint AS f
     JOIN pg_attribute AS other ON other.attrelid = f.confrelid AND other.attnum = f.confkey[1]
     WHERE f.contype = 'f' AND f.conrelid = t.oid AND f.conkey = ARRAY[c.attnum]) AS refers
FROM pg_class t JOIN pg_namespace s ON s.oid = t.relnamespace JOIN pg_attribute c ON c.attrelid = t.oid
WHERE s.nspname = ANY(:schemas) AND t.relkind IN ('r', 'p') AND NOT t.relispartition
    AND c.attnum > 0 AND NOT c.attisdropped AND t.relname <> ALL(:but)
ORDER BY 1, c.attnum
"""
_BY_TYPE = {
    "uuid": "md5('{name}.{column}' || n)::uuid",
    "timestamp with time zone": "timestamptz '2026-01-01' + n * interval '1 minute'",
    "date": "date '2000-01-01' + n",
    "boolean": "false",
    "jsonb": "'{{}}'::jsonb",
    "bytea": "decode(md5('{column}' || n), 'hex')",
    "text[]": "'{{}}'::text[]",
    "smallint": "n % 16",
    "integer": "n",
    "bigint": "n",
    "double precision": "n",
    "text": "'{column}-' || n",
}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    length: int
    needed: bool
    made: bool
    refers: str | None
    """The column of another table whose values it takes."""

    def value(self, table: str) -> str | None:
        """What a row has here; None leaves it to the table."""
        if self.made or not self.needed:
            return None
        if self.name == "case_no" or (self.name == "number" and table.endswith(".cases")):
            return "'case-' || n"
        if self.type == "character varying":
            return f"left('{self.name}-' || n, {self.length})"
        name, _, column = (self.refers or f"{table}.{self.name}").rpartition(".")
        return _BY_TYPE[self.type].format(name=name, column=column)


def fill(
    connection: Connection,
    rows: int,
    known: Mapping[str, Mapping[str, str]],
    but: frozenset[str] = frozenset(),
) -> None:
    """Fill every table of the services but those named; `known`: table -> column -> SQL over `n`."""
    filled = set()
    for table, columns in _tables(connection):
        if table not in but:
            filled.add(table)
            _fill(connection, table, columns, known.get(table, {}), rows)
    missing = known.keys() - filled
    assert not missing, f"there are no such tables: {missing}"


def _fill(
    connection: Connection, table: str, columns: list[_Column], known: Mapping[str, str], rows: int
) -> None:
    values = {column.name: column.value(table) for column in columns} | dict(known)
    chosen = {name: value for name, value in values.items() if value is not None}
    unknown = known.keys() - {column.name for column in columns}
    assert not unknown, f"{table} has no such columns: {unknown}"
    names = ", ".join(f'"{name}"' for name in chosen)
    connection.execute(
        text(
            f"INSERT INTO {table} ({names}) SELECT {', '.join(chosen.values())} "
            f"FROM generate_series(1, {rows}) AS n"
        )
    )


def _tables(connection: Connection) -> Iterator[tuple[str, list[_Column]]]:
    found: dict[str, list[_Column]] = {}
    for row in connection.execute(text(_TABLES), {"schemas": list(SERVICES), "but": list(NOT_FILLED)}):
        column = _Column(row.column, row.type, row.length, row.needed, row.made, row.refers)
        found.setdefault(row.name, []).append(column)
    # What is referred to comes first.
    yield from sorted(found.items(), key=lambda item: any(column.refers for column in item[1]))
