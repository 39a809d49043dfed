"""The guard of sealed columns in the database, and the table of the data keys.

A key that retires must not gain anything more, also not from a process that has not heard of the new one: the
database refuses it as a serialisation failure, whoever wrote reads the keys again and runs again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg2
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext

from shared.db.transaction import transaction
from shared.privacy.keys import KeyState, MakeKey, WrappedKey
from shared.privacy.sealed import oldest_key

REFUSED = "sealing_key"
"""What the guard calls itself where constraints have their names."""


def guard_v1(schema: str, table: str, row: Sequence[str], columns: Sequence[str]) -> str:
    """SQL for a migration: the guard of a table's sealed columns and look-ups, and the index that finds what
    stands under an old key. Never edited once it is released, as it is part of migrations."""
    oldest = oldest_key(schema, columns)
    index = (
        f"CREATE INDEX {table}_sealed ON {schema}.{table} (({oldest}), {', '.join(row)}) "
        f"WHERE {oldest} IS NOT NULL;\n"
    )
    return index + "".join(
        f"CREATE TRIGGER guard_{column} AFTER INSERT OR UPDATE OF {column} ON {schema}.{table} FOR EACH ROW "
        f"WHEN (NEW.{column} IS NOT NULL AND {schema}.is_closed(NEW.{column})) "
        f"EXECUTE FUNCTION {schema}.refuse_closed('{column}');\n"
        for column in columns
    )


def look_again_when_refused(engine: Engine, look_again: Callable[[], None]) -> None:
    """Call this when the guard has refused something that this engine wrote."""

    @event.listens_for(engine, "handle_error")
    def notice(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, psycopg2.Error) and error.diag.constraint_name == REFUSED:
            look_again()


def lock_keys(connection: Connection, service: str) -> None:
    """Nobody else changes the keys of the service before this transaction ends."""
    connection.execute(text(f"SELECT FROM {service}.locks WHERE name = 'keys' FOR UPDATE"))


def read_keys(connection: Connection, service: str) -> list[WrappedKey]:
    """All keys, oldest first."""
    rows = connection.execute(text(f"SELECT key_id, wrapped, state FROM {service}.data_keys ORDER BY key_id"))
    return [WrappedKey(row.key_id, bytes(row.wrapped), KeyState(row.state)) for row in rows]


@dataclass(frozen=True, slots=True)
class DataKeyTable:
    """The wrapped data keys of a service, in its own schema.

    The engine is not the one that the service works with: keys are read in the middle of its transactions,
    and nobody may wait for a connection while holding one.
    """

    engine: Engine

    def load(self, service: str) -> list[WrappedKey]:
        """All keys, oldest first."""
        with transaction(self.engine, "keys.load") as connection:
            return read_keys(connection, service)

    def activate(self, service: str, make: MakeKey, by: str) -> None:
        """Keep the key that `make` makes as the active one, and the one before it as retiring."""
        with transaction(self.engine, "keys.activate") as connection:
            lock_keys(connection, service)
            made = make(read_keys(connection, service))
            if made is not None:
                connection.execute(
                    text(f"SELECT {service}.begin_key(:key_id, :wrapped, :by)"),
                    {"key_id": made.key_id, "wrapped": made.wrapped, "by": by},
                )
