"""Writing rows: all of a table in one statement, whose values travel as one JSON document.

A statement with a hundred rows of literals costs the database more to read than to do, and the session's
book-keeping costs more than both; a document is read by PostgreSQL's own types, which judge each value as any
other insert would.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, TextClause, inspect, text
from sqlalchemy.orm import DeclarativeBase, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql.schema import ScalarElementColumnDefault

Rows = Sequence[Mapping[str, Any]]


def insert_rows(connection: Connection, kind: type[DeclarativeBase], rows: Rows) -> None:
    """Insert rows, each with the same attributes of `kind`; what is not named gets the database's default."""
    if rows:
        connection.execute(_insert(kind, tuple(rows[0])), {"rows": _document(kind, rows)})


def save_session(session: Session) -> None:
    """Write what is new and what has changed in a session, as its own flush would.

    What the session has to delete, and new rows of which the database makes a part, are left to that flush.
    Raises StaleDataError when a changed row is gone.
    """
    connection = session.connection()
    if not session.deleted:
        for kind, made in _by_kind(session.new):
            _insert_new(session, connection, kind, made)
        for kind, loaded in _by_kind(session.dirty):
            _update_changed(connection, kind, loaded)
    if session.deleted or session.new:
        session.flush()


def _insert_new(
    session: Session, connection: Connection, kind: type[DeclarativeBase], made: Sequence[DeclarativeBase]
) -> None:
    found = [(one, _row_of(one)) for one in made]
    whole = [(one, row) for one, row in found if row is not None]
    insert_rows(connection, kind, [row for _, row in whole])
    for one, row in whole:
        session.expunge(one)
        for name, value in row.items():
            set_committed_value(one, name, value)
        make_transient_to_detached(one)
        session.add(one)


def _update_changed(
    connection: Connection, kind: type[DeclarativeBase], loaded: Iterable[DeclarativeBase]
) -> None:
    """All rows change the same attributes, so that one statement writes them: a batch of mixed facts took 63
    for 100 facts without this."""
    mapper = inspect(kind)
    changed = [one for one in loaded if _has_changed(one)]
    if not changed:
        return
    names = sorted({name for one in changed for name in inspect(one).committed_state})
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    rows = sorted(
        ({name: getattr(one, name) for name in (*keys, *names)} for one in changed),
        key=lambda row: [str(row[key]) for key in keys],
    )
    done = connection.execute(_update(kind, tuple(names)), {"rows": _document(kind, rows)})
    if done.rowcount != len(rows):
        raise StaleDataError(f"{done.rowcount} of {len(rows)} changed rows of {_table(kind)} are there")
    for one in changed:
        for name in names:
            set_committed_value(one, name, getattr(one, name))


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
def _insert(kind: type[DeclarativeBase], names: tuple[str, ...]) -> TextClause:
    table, columns = _table(kind), ", ".join(_columns(kind, names))
    return text(
        f"INSERT INTO {table} ({columns}) SELECT {columns} "
        f"FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb))"
    )


@cache
def _update(kind: type[DeclarativeBase], names: tuple[str, ...]) -> TextClause:
    table = _table(kind)
    changes = ", ".join(f"{column} = v.{column}" for column in _columns(kind, names))
    same = " AND ".join(f"t.{_quoted(key.name)} = v.{_quoted(key.name)}" for key in table.primary_key)
    return text(
        f"UPDATE {table} AS t SET {changes} "
        f"FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb)) AS v WHERE {same}"
    )


@cache
def _columns(kind: type[DeclarativeBase], names: tuple[str, ...]) -> list[str]:
    mapper = inspect(kind)
    return [_quoted(mapper.columns[name].name) for name in names]


def _quoted(name: str) -> str:
    return f'"{name}"'


def _document(kind: type[DeclarativeBase], rows: Rows) -> str:
    mapper = inspect(kind)
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
        case bytes():
            return "\\x" + value.hex()
    raise TypeError(f"no column holds a {type(value).__name__}")
