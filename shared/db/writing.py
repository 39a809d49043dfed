"""Writing rows: all that a transaction writes in one statement, the values of each table as a JSON document.

A statement with a hundred rows of literals costs the database more to read than to do, and the session's
book-keeping costs more than both; a document is read by PostgreSQL's own types, which judge each value as any
other insert would.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Table, TextClause, inspect, text
from sqlalchemy.orm import DeclarativeBase, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql.schema import ScalarElementColumnDefault

Rows = Sequence[Mapping[str, Any]]


class _Part(NamedTuple):
    """What is done to one table; hashable, so that the statement for it is made once."""

    verb: Literal["insert", "update"]
    kind: type[DeclarativeBase]
    names: tuple[str, ...]


class Writes:
    """All that a transaction has to write, in one statement.

    What is new and what has changed in `session` is written as its own flush would; of a table's changed rows
    each gets all columns that changed in any, so they must have been locked when they were read. What the
    session has to delete, and new rows of which the database makes a part, are left to that flush.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._parts: list[tuple[_Part, Rows]] = []
        self._new: list[tuple[DeclarativeBase, dict[str, Any]]] = []
        self._changed: list[tuple[DeclarativeBase, tuple[str, ...]]] = []
        if session.deleted:
            session.flush()
        for kind, made in _by_kind(session.new):
            whole = [(one, row) for one in made if (row := _row_of(one)) is not None]
            self._new += whole
            self.insert(kind, [row for _, row in whole])
        for kind, loaded in _by_kind(session.dirty):
            self._update(kind, [one for one in loaded if _has_changed(one)])

    def insert(self, kind: type[DeclarativeBase], rows: Rows) -> None:
        """Insert rows, each with the same attributes of `kind`; what is not named gets the database's
        default."""
        if rows:
            self._parts.append((_Part("insert", kind, tuple(rows[0])), rows))

    def run(
        self,
        connection: Connection,
        call: str = "",
        values: Mapping[str, Any] = MappingProxyType({}),
        *,
        also: str = "",
    ) -> None:
        """Write all of it, and in the same statement call a function of the database and do `also`, which
        returns nothing; `values` are theirs.

        Raises StaleDataError when a changed row is gone.
        """
        if self._parts or call:
            statement = _statement(tuple(part for part, _ in self._parts), call, also)
            rows = {f"rows{n}": _document(part, rows) for n, (part, rows) in enumerate(self._parts)}
            done = connection.execute(statement, {**rows, **values}).one()
            for n, (part, rows_) in enumerate(self._parts):
                if part.verb == "update" and (there := getattr(done, f"part{n}")) != len(rows_):
                    raise StaleDataError(
                        f"{there} of {len(rows_)} changed rows of {_table(part.kind)} are there"
                    )
        self._settle()

    def _update(self, kind: type[DeclarativeBase], changed: Sequence[DeclarativeBase]) -> None:
        """All rows change the same attributes, so that one statement writes them: a batch of mixed facts took
        63 for 100 facts without this."""
        if not changed:
            return
        mapper = inspect(kind)
        names = tuple(sorted({name for one in changed for name in inspect(one).committed_state}))
        keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        rows = [{name: getattr(one, name) for name in (*keys, *names)} for one in changed]
        rows.sort(key=lambda row: [str(row[key]) for key in keys])
        self._parts.append((_Part("update", kind, names), rows))
        self._changed += [(one, names) for one in changed]

    def _settle(self) -> None:
        """Let the session know what is written."""
        for one, row in self._new:
            self._session.expunge(one)
            for name, value in row.items():
                set_committed_value(one, name, value)
            make_transient_to_detached(one)
            self._session.add(one)
        for one, names in self._changed:
            for name in names:
                set_committed_value(one, name, getattr(one, name))
        if self._session.new:
            self._session.flush()


def _by_kind(rows: Iterable[Any]) -> list[tuple[type[DeclarativeBase], list[DeclarativeBase]]]:
    """By table, those first that others refer to."""
    found: dict[type[DeclarativeBase], list[DeclarativeBase]] = {}
    for one in rows:
        found.setdefault(type(one), []).append(one)
    return sorted(found.items(), key=lambda item: _rank(item[0]))


def _has_changed(one: DeclarativeBase) -> bool:
    return any(getattr(one, name) != before for name, before in inspect(one).committed_state.items())


def _row_of(one: DeclarativeBase) -> dict[str, Any] | None:
    """Its columns; None when the database has to make one of them."""
    given = inspect(one).dict
    row = {}
    for name, column in inspect(type(one)).columns.items():
        if name in given:
            row[name] = given[name]
        elif isinstance(column.default, ScalarElementColumnDefault):
            row[name] = column.default.arg
        elif column.nullable and column.default is None and column.server_default is None:
            row[name] = None
        else:
            return None
    return row


@cache
def _rank(kind: type[DeclarativeBase]) -> int:
    return kind.metadata.sorted_tables.index(_table(kind))


def _table(kind: type[DeclarativeBase]) -> Table:
    table = kind.__table__
    assert isinstance(table, Table)
    return table


@cache
def _statement(parts: tuple[_Part, ...], call: str, also: str) -> TextClause:
    done = {f"part{n}": _words(part, f"rows{n}") for n, part in enumerate(parts)}
    told = [
        f"(SELECT count(*) FROM part{n}) AS part{n}" for n, part in enumerate(parts) if part.verb == "update"
    ]
    if also:
        done["also"] = also
    steps = ", ".join(f"{name} AS ({words})" for name, words in done.items())
    return text(f"{f'WITH {steps} ' if steps else ''}SELECT {', '.join([call or '1', *told])}")


def _words(part: _Part, rows: str) -> str:
    table, columns = _table(part.kind), _columns(part.kind, part.names)
    given = f"jsonb_populate_recordset(NULL::{table}, CAST(:{rows} AS jsonb))"
    if part.verb == "insert":
        named = ", ".join(columns)
        return f"INSERT INTO {table} ({named}) SELECT {named} FROM {given}"
    changes = ", ".join(f"{column} = v.{column}" for column in columns)
    same = " AND ".join(f"t.{_quoted(key.name)} = v.{_quoted(key.name)}" for key in table.primary_key)
    return f"UPDATE {table} AS t SET {changes} FROM {given} AS v WHERE {same} RETURNING 1"


@cache
def _columns(kind: type[DeclarativeBase], names: tuple[str, ...]) -> list[str]:
    mapper = inspect(kind)
    return [_quoted(mapper.columns[name].name) for name in names]


def _quoted(name: str) -> str:
    return f'"{name}"'


def _document(part: _Part, rows: Rows) -> str:
    mapper = inspect(part.kind)
    names = {name: mapper.columns[name].name for name in rows[0]}
    return json.dumps([{names[name]: row[name] for name in names} for row in rows], default=_as_text)


def _as_text(value: Any) -> str:
    match value:
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a naive datetime cannot be stored")
            return value.isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes() | memoryview():
            return "\\x" + bytes(value).hex()
    raise TypeError(f"no column holds a {type(value).__name__}")
