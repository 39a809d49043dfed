"""Everything that stands under an older data key is sealed again under the one that seals, and the older one
is retired.

All state is in the database: which key a value stands under is in the value, an index finds what stands under
an old one, and nothing new comes under it (`shared.db.sealing`). So whoever goes on after somebody who was
killed begins where that one stopped, and several may be at it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, TextClause, text

from shared.bus.context import ServiceContext
from shared.db.outages import DatabaseAway
from shared.db.roles import app_role
from shared.db.transaction import transaction
from shared.describe import kind_of
from shared.paging import COUNTED
from shared.privacy.keys import KeyState, VaultError
from shared.privacy.sealed import SealedTable, oldest_key

_log = structlog.get_logger()

BITE = 200
BITE_BYTES = 16_000_000
"""Rows and bytes that one transaction seals again at most; always at least one row."""
BITES = 100
"""Bites of a table in one run of a worker's timer."""
WAIT_S = 60.0
"""Longer than the roles' limits let a transaction last."""

_POLL_S = 0.05


@dataclass(slots=True)
class Turned:
    """What one run has done. `unopened` counts, by table, rows that cannot be opened and so stay as they are;
    `complete` is false when other transactions lasted too long, or bites ran out."""

    resealed: int = 0
    unopened: dict[str, int] = field(default_factory=dict)
    retired: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows under one key in one column, counted up to `shared.paging.COUNTED`."""

    count: int
    more: bool


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One data key, and what stands under it by `table.column`."""

    key: int
    state: KeyState
    made_at: datetime
    made_by: str
    retired_at: datetime | None
    rows: Mapping[str, Counted]
    waits_for: Sequence[str]
    """Tables whose rows nobody can seal again: the key stays until these have gone by themselves."""


def begin_rotation(context: ServiceContext, by: str) -> int:
    """Seal under a new key from now on, unless an earlier rotation is not over; id of the key that seals.

    From the commit on nobody can write anything under an older key. `finish_rotation` does the rest.
    """
    key = context.vault.keyring.rotate(by)
    _log.info("data_key_begun", service=context.service, key=key, by=by)
    return key


def finish_rotation(
    context: ServiceContext,
    tables: Sequence[SealedTable],
    *,
    bites: int | None = None,
    wait_s: float = WAIT_S,
) -> Turned:
    """Seal again what stands under older keys, at most `bites` bites of each table, and retire these keys.

    Nothing to do without a retiring key. May end anywhere: the next run goes on. Raises DatabaseAway.
    """
    turned = Turned()
    retiring = _retiring(context)
    if not retiring:
        return turned
    turned.left = retiring
    context.vault.keyring.refresh()
    # Whoever began before the new key did may have written under an old one unseen by others.
    turned.complete = _transactions_end(context, wait_s)
    if turned.complete:
        for table in tables:
            if table.can_be_sealed_again:
                turned.complete = _reseal(context, table, turned, bites, wait_s) and turned.complete
    # Whoever read a value before it was sealed again still opens it with the old key.
    if turned.complete and _transactions_end(context, wait_s):
        turned.retired = [key for key in retiring if _retire(context, key)]
        turned.left = [key for key in retiring if key not in turned.retired]
    for key in turned.retired:
        _log.info("data_key_retired", service=context.service, key=key)
    return turned


def go_on(context: ServiceContext, tables: Sequence[SealedTable]) -> None:
    """The timer's side of it, for a rotation whose command has ended; an outage is no reason to fail."""
    try:
        turned = finish_rotation(context, tables, bites=BITES)
    except DatabaseAway as error:
        _log.warning("rotation_repeats", service=context.service, error=kind_of(error))
        return
    if turned.resealed or turned.unopened:
        _log.info("resealed", service=context.service, rows=turned.resealed, unopened=turned.unopened)


def key_status(context: ServiceContext, tables: Sequence[SealedTable]) -> list[KeyStatus]:
    """Every key that there was, the oldest first."""
    schema = context.service
    with transaction(context.engine, "keys.status") as connection:
        keys = connection.execute(
            text(
                f"SELECT key_id, state, created_at, created_by, retired_at FROM {schema}.data_keys "
                "ORDER BY key_id"
            )
        ).all()
        found = []
        for key in keys:
            live = tables if key.state != KeyState.RETIRED else ()
            rows = {
                f"{table.name}.{column}": counted
                for table in live
                for column, counted in _count(connection, schema, table, key.key_id).items()
            }
            waits_for = [
                table.name
                for table in live
                if not table.can_be_sealed_again
                and any(rows[f"{table.name}.{column}"].count for column in table.columns)
            ]
            found.append(
                KeyStatus(
                    key.key_id,
                    KeyState(key.state),
                    key.created_at,
                    key.created_by,
                    key.retired_at,
                    rows,
                    waits_for if key.state == KeyState.RETIRING else [],
                )
            )
    return found


def rotating_since(context: ServiceContext) -> datetime | None:
    """When the rotation began that is not over; None when all is sealed under one key."""
    statement = text(
        f"SELECT created_at FROM {context.service}.data_keys WHERE state = 'active' "
        f"AND EXISTS (SELECT FROM {context.service}.data_keys WHERE state = 'retiring')"
    )
    with transaction(context.engine, "keys.since") as connection:
        found: datetime | None = connection.execute(statement).scalar_one_or_none()
        return found


def _retiring(context: ServiceContext) -> list[int]:
    with transaction(context.engine, "keys.retiring") as connection:
        found = connection.execute(
            text(f"SELECT key_id FROM {context.service}.data_keys WHERE state = 'retiring' ORDER BY key_id")
        )
        return list(found.scalars())


def _transactions_end(context: ServiceContext, wait_s: float) -> bool:
    """Wait until every transaction of the service that runs now has ended; false when one lasts too long."""
    until = time.monotonic() + wait_s
    waited_for = _running(context)
    while waited_for:
        if time.monotonic() >= until:
            _log.warning("rotation_waits", service=context.service, transactions=len(waited_for))
            return False
        time.sleep(_POLL_S)
        waited_for &= _running(context)
    return True


def _running(context: ServiceContext) -> set[str]:
    # Every transaction holds the lock of its own virtual id from its first statement to its end.
    statement = text(
        "SELECT l.virtualtransaction FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid "
        "WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted "
        "AND a.usename = :role AND a.datname = current_database() AND l.pid <> pg_backend_pid()"
    )
    with transaction(context.engine, "keys.running") as connection:
        return set(connection.execute(statement, {"role": app_role(context.service)}).scalars())


def _retire(context: ServiceContext, key: int) -> bool:
    with transaction(context.engine, "keys.retire") as connection:
        retire = text(f"SELECT {context.service}.retire_key(:key)")
        return bool(connection.execute(retire, {"key": key}).scalar_one())


def _reseal(
    context: ServiceContext, table: SealedTable, turned: Turned, bites: int | None, wait_s: float
) -> bool:
    """Whether all of a table was looked at: what stands under an old key still does not open."""
    until = time.monotonic() + wait_s
    left_bites = -1 if bites is None else bites
    while left_bites:
        resealed = unopened = 0
        after: dict[str, Any] | None = None
        while left_bites:
            bite = _bite(context, table, after)
            left_bites -= 1
            resealed, unopened, after = resealed + bite.resealed, unopened + bite.unopened, bite.last
            if after is None:
                break
        turned.resealed += resealed
        if resealed:
            continue
        if _count_old(context, table, unopened + 1) <= unopened:
            if unopened:
                turned.unopened[table.name] = unopened
            return True
        # Others have locked the rest. What they write stands under the new key, or is what we seal again.
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return False


@dataclass(frozen=True, slots=True)
class _Bite:
    """What one transaction did; `last` is where the next one begins, None at the end of a round."""

    resealed: int = 0
    unopened: int = 0
    last: dict[str, Any] | None = None


def _bite(context: ServiceContext, table: SealedTable, after: dict[str, Any] | None) -> _Bite:
    """Lock the next rows that stand under an old key, and seal them again; those that somebody else has
    locked are passed over."""
    with transaction(context.engine, "keys.reseal") as connection:
        values = {"active": context.vault.keyring.current, **(after or {})}
        found = connection.execute(rows_to_reseal(context.service, table, after is not None), values)
        chosen = _at_most([dict(row) for row in found.mappings()], BITE_BYTES)
        if not chosen:
            return _Bite()
        changes, unopened = [], 0
        for row in _read(connection, context.service, table, chosen):
            try:
                changes.append(_sealed_again(context, table, row))
            except VaultError:
                unopened += 1
        if changes:
            connection.execute(_update(context.service, table), changes)
    last = {name: chosen[-1][name] for name in ("oldest", *table.row)}
    return _Bite(len(changes), unopened, last)


def _at_most(rows: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """As many of the first rows as are that large together, and the first one in any case."""
    chosen: list[dict[str, Any]] = []
    for row in rows:
        size -= row["size"]
        if size < 0 and chosen:
            break
        chosen.append(row)
    return chosen


def rows_to_reseal(schema: str, table: SealedTable, goes_on: bool) -> TextClause:
    """A query for the next rows of a table that stand under a key older than `active`; it locks them. One
    that goes on begins behind the row with the values named `oldest` and as the columns of its key."""
    oldest, row = oldest_key(schema, table.columns), ", ".join(table.row)
    size = " + ".join(f"COALESCE(octet_length({column}), 0)" for column in table.sealed)
    begin = (
        f" AND ({oldest}, {row}) > (:oldest, {', '.join(f':{name}' for name in table.row)})"
        if goes_on
        else ""
    )
    return text(
        f"SELECT {oldest} AS oldest, {size} AS size, {row} FROM {schema}.{table.name} "
        f"WHERE {oldest} < :active{begin} ORDER BY {oldest}, {row} LIMIT {BITE} FOR UPDATE SKIP LOCKED"
    )


def _read(
    connection: Connection, schema: str, table: SealedTable, chosen: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The values of rows that are locked already."""
    names = ", ".join((*table.row, *table.columns))
    same = " AND ".join(f"{name} = :{name}" for name in table.row)
    statement = text(f"SELECT {names} FROM {schema}.{table.name} WHERE {same}")
    for row in chosen:
        key = {name: row[name] for name in table.row}
        yield dict(connection.execute(statement, key).mappings().one())


def _sealed_again(context: ServiceContext, table: SealedTable, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's key, and its columns under the key that seals. Raises VaultError when one does not open."""
    vault, bound_to = context.vault, "/".join(str(row[name]) for name in table.row)
    changed: dict[str, Any] = {name: row[name] for name in table.row}
    opened: dict[str, bytes] = {}
    for column in table.sealed:
        changed[column] = row[column]
        if row[column] is not None:
            opened[column] = vault.open_bytes(row[column], table=table.name, row=bound_to, column=column)
            changed[column] = vault.seal(opened[column], table=table.name, row=bound_to, column=column)
    for lookup in table.lookups:
        changed[lookup.column] = vault.lookup(opened[lookup.of].decode(), kind=lookup.kind)
    return changed


def _update(schema: str, table: SealedTable) -> TextClause:
    columns = ", ".join(f"{column} = :{column}" for column in table.columns)
    same = " AND ".join(f"{name} = :{name}" for name in table.row)
    return text(f"UPDATE {schema}.{table.name} SET {columns} WHERE {same}")


def _count_old(context: ServiceContext, table: SealedTable, most: int) -> int:
    schema = context.service
    statement = text(
        f"SELECT count(*) FROM (SELECT FROM {schema}.{table.name} "
        f"WHERE {oldest_key(schema, table.columns)} < :active LIMIT :most) AS old"
    )
    with transaction(context.engine, "keys.left") as connection:
        values = {"active": context.vault.keyring.current, "most": most}
        return int(connection.execute(statement, values).scalar_one())


def _count(connection: Connection, schema: str, table: SealedTable, key: int) -> dict[str, Counted]:
    """By column, among the first rows that hold anything under this key or an older one."""
    oldest = oldest_key(schema, table.columns)
    keys = ", ".join(f"{schema}.key_of({column}) AS {column}" for column in table.columns)
    counts = ", ".join(f"count(*) FILTER (WHERE {column} = :key) AS {column}" for column in table.columns)
    row = connection.execute(
        text(
            f"SELECT count(*) AS seen, {counts} FROM (SELECT {keys} FROM {schema}.{table.name} "
            f"WHERE {oldest} <= :key ORDER BY {oldest} DESC LIMIT {COUNTED + 1}) AS first"
        ),
        {"key": key},
    ).one()
    values = row._mapping
    return {c: Counted(min(values[c], COUNTED), row.seen > COUNTED) for c in table.columns}
