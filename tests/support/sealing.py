"""Every sealed column of an installation with something in it, and what stands under which key."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from deploy.services import SERVICES, sealed_tables
from shared.bus.context import ServiceContext
from shared.privacy.sealed import SealedTable
from tests.support.filling import fill
from tests.support.installation import Installation

Place = tuple[str, str, str]
"""Table, row and column."""


def row_of(table: SealedTable, row: Any) -> str:
    """What the values of a row are bound to."""
    return "/".join(str(row[name]) for name in table.row)


def fill_and_seal(made: Installation, rows: int = 3) -> None:
    """So many rows in every table, and in every sealed column and look-up of each a value of its own."""
    with made.admin.begin() as connection:
        fill(connection, rows, {})
    for service in SERVICES:
        for table in sealed_tables(service):
            _seal_all(made, service, table)


def _seal_all(made: Installation, service: str, table: SealedTable) -> None:
    vault = made.context(service).vault
    same = " AND ".join(f"{name} = :{name}" for name in table.row)
    names = ", ".join(f"{column} = :{column}" for column in table.columns)
    for row in made.rows(f"SELECT {', '.join(table.row)} FROM {service}.{table.name}"):
        found = row._mapping
        bound = row_of(table, found)
        values: dict[str, Any] = {
            column: vault.seal(plain(table.name, bound, column), table=table.name, row=bound, column=column)
            for column in table.sealed
        }
        for lookup in table.lookups:
            of = plain(table.name, bound, lookup.of)
            values[lookup.column] = vault.lookup(of, kind=lookup.kind)
        made.change(f"UPDATE {service}.{table.name} SET {names} WHERE {same}", **values, **found)


def plain(table: str, row: str, column: str) -> str:
    """What is sealed there."""
    return f"明文 {table} {row} {column}"


@dataclass(frozen=True, slots=True)
class Opened:
    """What one service's vault can read: plain text by place, and rows by key and column."""

    texts: dict[Place, str]
    under: dict[int, Counter[str]]


def open_all(made: Installation, context: ServiceContext) -> Opened:
    """Open every sealed value of a service, and check that every look-up finds its row."""
    service, vault = context.service, context.vault
    texts: dict[Place, str] = {}
    under: dict[int, Counter[str]] = {}
    for table in sealed_tables(service):
        for found in made.rows(f"SELECT * FROM {service}.{table.name}"):
            row = found._mapping
            bound = row_of(table, row)
            for column in table.columns:
                if row[column] is not None:
                    under.setdefault(vault.key_of(row[column]), Counter())[f"{table.name}.{column}"] += 1
            for column in table.sealed:
                if row[column] is not None:
                    texts[table.name, bound, column] = vault.open(
                        row[column], table=table.name, row=bound, column=column
                    )
            for lookup in table.lookups:
                of = texts[table.name, bound, lookup.of] if lookup.of else plain(table.name, bound, "")
                assert bytes(row[lookup.column]) in vault.lookups(of, kind=lookup.kind)
    return Opened(texts, under)


def everything(made: Installation, service: str) -> dict[Place, str]:
    """What `fill_and_seal` has sealed in a service."""
    return {
        (table.name, row_of(table, row._mapping), column): plain(
            table.name, row_of(table, row._mapping), column
        )
        for table in sealed_tables(service)
        for row in made.rows(f"SELECT {', '.join(table.row)} FROM {service}.{table.name}")
        for column in table.sealed
    }


def key_states(made: Installation, service: str) -> dict[int, str]:
    """Every data key and its state."""
    return {row.key_id: row.state for row in made.rows(f"SELECT key_id, state FROM {service}.data_keys")}


def guards_of(made: Installation, service: str) -> set[str]:
    """`table.column` of every column that the database guards."""
    with made.admin.begin() as connection:
        found = connection.execute(
            text(
                "SELECT c.relname || '.' || substr(t.tgname, 7) FROM pg_trigger t "
                "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = :schema AND t.tgname LIKE 'guard\\_%'"
            ),
            {"schema": service},
        )
        return set(found.scalars())
