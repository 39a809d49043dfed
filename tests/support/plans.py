"""How the database goes about a query: the statements that a function sends, and the plan of each with what
it really read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Function Scan")


@dataclass(frozen=True, slots=True)
class Sent:
    """One statement as it went to the database."""

    sql: str
    values: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What EXPLAIN (ANALYZE) told of one statement."""

    sent: Sent
    root: dict[str, Any]
    planning_ms: float
    execution_ms: float

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    def sequential(self) -> list[str]:
        """The tables that are read from end to end."""
        return [node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"]

    def sorted_rows(self) -> int:
        """The rows that go into the largest sort; one that goes on where an index left off counts what it
        holds at a time."""
        found = [0]
        for node in self.nodes():
            if node["Node Type"] == "Sort":
                found.append(_rows(node["Plans"][0]))
            elif node["Node Type"] == "Incremental Sort":
                found.append(int(node["Actual Rows"]))
        return max(found)

    def read_rows(self) -> int:
        """The rows of tables and indexes that were looked at, those that were thrown away again included."""
        return sum(
            _rows(node) + int(node.get("Rows Removed by Filter", 0) * node["Actual Loops"])
            for node in self.nodes()
            if node["Node Type"] in _SCANS
        )


def _rows(node: dict[str, Any]) -> int:
    rows: float = node["Actual Rows"] * node["Actual Loops"]
    return round(rows)


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[Sent]]:
    """The reading statements that go to this database meanwhile."""
    sent: list[Sent] = []

    def before(connection: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            sent.append(Sent(statement, values))

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", before)


def plan_of(connection: Connection, sent: Sent) -> Plan:
    """Run it once more and say how it went."""
    said = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sent.sql
    found = connection.exec_driver_sql(said, sent.values).scalar_one()[0]
    return Plan(sent, found["Plan"], found["Planning Time"], found["Execution Time"])


def plans_of(engine: Engine, read: Callable[[Connection], Any]) -> list[Plan]:
    """The plans of all that a function reads, in a transaction of which nothing stays."""
    with engine.connect() as connection:
        with statements_of(engine) as sent:
            read(connection)
        plans = [plan_of(connection, one) for one in list(sent)]
        connection.rollback()
    return plans
