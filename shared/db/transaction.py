"""The only place that begins and commits a transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row

from shared.db.outages import outages_told
from shared.faults import fault_point


@contextmanager
def transaction(engine: Engine, label: str) -> Iterator[Connection]:
    """One transaction: committed at the end of the block, rolled back when the block raises.

    `label` names the crash points `<label>.commit.before` and `<label>.commit.after`. An exception from the
    commit itself leaves open whether it happened; callers repeat, and what they repeat must be idempotent.
    Raises DatabaseAway for every outage.
    """
    with outages_told(), engine.connect() as connection:
        with connection.begin():
            yield connection
            fault_point(f"{label}.commit.before")
        fault_point(f"{label}.commit.after")


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """Each statement a transaction of its own: for what PostgreSQL does not do inside one, and for hints.

    Raises DatabaseAway for every outage.
    """
    with outages_told(), engine.connect() as connection:
        # SQLAlchemy's way sets an isolation level too, which is one more statement each time.
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        try:
            yield connection
        finally:
            if not driver.closed:
                driver.autocommit = False


def call(engine: Engine, label: str, statement: Executable, values: Mapping[str, Any]) -> Row[Any]:
    """One statement that is a transaction of its own, and its one row: one round trip instead of three.

    Crash points, doubt and errors are those of `transaction`.
    """
    with autocommit(engine) as connection:
        fault_point(f"{label}.commit.before")
        row = connection.execute(statement, values).one()
        fault_point(f"{label}.commit.after")
        return row
