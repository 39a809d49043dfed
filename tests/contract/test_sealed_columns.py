"""Whoever adds a column of bytes says in the registry what is sealed in it, so that a rotation finds it."""

import re

import pytest
from sqlalchemy import LargeBinary

from deploy.lints import ROOT
from deploy.services import SERVICES, metadata, sealed_tables
from shared.bus.sealed import SEALED

NOT_SEALED = {
    "data_keys.wrapped": "stands under the master key",
    "unasked_contacts.code_digest": "a digest of 51 random bits, tried by network as query codes are",
    "cases.query_digest": "a digest of 128 random bits, without a key",
}
_TABLE = re.compile(r"CREATE TABLE \S+?\.(\w+) \((.*?);", re.DOTALL)
_KEY = re.compile(r"^\s+(\w+) .*PRIMARY KEY|^\s+PRIMARY KEY \((.*)\)", re.MULTILINE)
_BYTES = re.compile(r"^\s+(\w+) bytea", re.MULTILINE)


def bytes_in(sql: str) -> set[str]:
    """`table.column` of every column of bytes that some SQL makes."""
    return {f"{table}.{column}" for table, body in _TABLE.findall(sql) for column in _BYTES.findall(body)}


def known(service: str) -> set[str]:
    """What the registry of a service says."""
    return {f"{table.name}.{column}" for table in sealed_tables(service) for column in table.columns}


@pytest.mark.parametrize("service", SERVICES)
def test_every_column_of_bytes_of_a_model_is_in_the_registry(service: str) -> None:
    found = {
        f"{table.name}.{column.name}"
        for table in metadata(service).sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    own = known(service) - {f"{table.name}.{column}" for table in SEALED for column in table.columns}
    assert found - NOT_SEALED.keys() == own


def test_every_column_of_bytes_of_the_delivery_tables_is_in_the_registry() -> None:
    found = bytes_in((ROOT / "shared/bus/schema_v1.sql").read_text(encoding="utf-8"))
    named = {f"{table.name}.{column}" for table in SEALED for column in table.columns}
    assert found - NOT_SEALED.keys() == named


@pytest.mark.parametrize("service", SERVICES)
def test_a_row_is_known_by_its_primary_key(service: str) -> None:
    tables = metadata(service).tables
    for table in sealed_tables(service):
        if (model := tables.get(f"{service}.{table.name}")) is not None:
            assert tuple(column.name for column in model.primary_key) == table.row


def test_a_column_that_nobody_registered_is_seen() -> None:
    sql = "CREATE TABLE {schema}.new (\n    id uuid PRIMARY KEY,\n    sealed_note bytea NOT NULL\n);"
    assert bytes_in(sql) == {"new.sealed_note"}


def test_a_row_of_the_delivery_tables_is_known_by_its_primary_key() -> None:
    bodies = dict(_TABLE.findall((ROOT / "shared/bus/schema_v1.sql").read_text(encoding="utf-8")))
    for table in SEALED:
        [(one, several)] = _KEY.findall(bodies[table.name])
        assert tuple((one or several).split(", ")) == table.row
