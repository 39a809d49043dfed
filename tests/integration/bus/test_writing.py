"""Whatever a service keeps comes back as it was written, whichever of its columns were changed at once."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, LargeBinary, String, Text, Uuid, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.exc import StaleDataError

from deploy.postgres import PostgresServer
from deploy.services import SERVICES, part
from services.approval.models import Case, Task
from services.intake.models import LookupMiss, TimelineEntry
from shared.db.types import AwareDateTime
from shared.db.writing import Rows, Writes
from shared.settings import Settings
from tests.support.installation import Installation, make_installation

K = TypeVar("K", bound=DeclarativeBase)
KINDS = [
    pytest.param(service, mapper.class_, id=f"{service}.{mapper.local_table.name}")
    for service in SERVICES
    for mapper in sorted(part(service, "models").Base.registry.mappers, key=lambda m: m.local_table.name)
    if not mapper.local_table.foreign_keys
]
"""All that refer to no row of another table."""
TEXT = "'\"\\ \n\t{}[],;:$1%s\u200b張三𠮷"
MOMENT = datetime(2026, 2, 28, 23, 59, 59, 123456, UTC)


# What stands in a sealed value says under which key it is: under none that exists.
SEALED = b"\x7f" * 10 + bytes(range(256))
ODD: dict[type[Any], Callable[[int], Any]] = {
    String: lambda n: f"{n}{TEXT}" * 20,
    Text: lambda n: f"{n}{TEXT}" * 20,
    Uuid: lambda n: UUID(int=n + 2**100),
    AwareDateTime: lambda n: (MOMENT + timedelta(microseconds=n)).astimezone(timezone(timedelta(hours=n))),
    Date: lambda n: date(2026, 2, 1) + timedelta(days=n),
    Boolean: lambda n: n % 2 == 0,
    BigInteger: lambda n: 2**63 - 1 - n,
    Integer: lambda n: 2**31 - 1 - n,
    LargeBinary: lambda n: SEALED + bytes([n]),
    JSONB: lambda n: {TEXT: [n, 1.5, None, True, {"": "\U0010ffff"}], "a": []},
}
"""By the type of a column, values that are awkward to write down; another one for each n."""


def some(column: Column[Any], n: int) -> Any:
    value = ODD[type(column.type)](n)
    return value[: column.type.length or 500] if isinstance(column.type, String) else value


def row(kind: type[K], n: int, **known: Any) -> K:
    """A row that names every column which the database does not make."""
    columns = kind.__mapper__.columns.items()
    return kind(**{name: some(c, n) for name, c in columns if c.server_default is None} | known)


def values(one: DeclarativeBase) -> dict[str, Any]:
    return {name: getattr(one, name) for name, _ in type(one).__mapper__.columns.items()}


@pytest.fixture(scope="module")
def written(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One for all of them: none leaves anything."""
    with make_installation(postgres, template_settings, tmp_path_factory.mktemp("written"), None) as made:
        yield made


@pytest.fixture
def session(written: Installation, request: pytest.FixtureRequest) -> Iterator[Session]:
    """Of the service that the test names, as its own role; nothing of it stays."""
    service = request.node.callspec.params["service"] if hasattr(request.node, "callspec") else "approval"
    with written.context(service).engine.connect() as connection:
        yield Session(bind=connection, autoflush=False, expire_on_commit=False)
        connection.rollback()


def save(session: Session) -> None:
    Writes(session).run(session.connection())


def append(session: Session, kind: type[DeclarativeBase], rows: Rows) -> None:
    writes = Writes(session)
    writes.insert(kind, rows)
    writes.run(session.connection())


def read(session: Session, kind: type[DeclarativeBase]) -> list[dict[str, Any]]:
    """What the database holds of those that the test wrote, in the order of their keys."""
    other = Session(bind=session.connection())
    return [values(one) for one in other.scalars(select(kind).order_by(*kind.__mapper__.primary_key))]


@pytest.mark.parametrize(("service", "kind"), KINDS)
def test_a_new_row_of_every_table_comes_back_as_it_was(
    session: Session, service: str, kind: type[DeclarativeBase]
) -> None:
    before = len(read(session, kind))
    made = [row(kind, n) for n in range(3)]
    session.add_all(made)
    save(session)
    found = read(session, kind)
    assert len(found) == before + 3
    for one in made:
        assert values(one) in found
    assert not session.new


@pytest.mark.parametrize(("service", "kind"), KINDS)
def test_a_row_of_every_table_that_is_appended_comes_back_as_it_was(
    session: Session, service: str, kind: type[DeclarativeBase]
) -> None:
    rows = [values(row(kind, n)) for n in range(3)]
    made = {name for name, column in kind.__mapper__.columns.items() if column.server_default is not None}
    rows = [{name: value for name, value in one.items() if name not in made} for one in rows]
    append(session, kind, rows)
    found = [{name: one[name] for name in rows[0]} for one in read(session, kind)]
    assert all(one in found for one in rows)


def test_rows_that_change_in_different_columns_keep_the_others(session: Session) -> None:
    cases = [row(Case, n, number=f"C{n}", state="received") for n in range(4)]
    session.add_all(cases)
    save(session)
    cases[0].state = "accepted"
    cases[1].asked = ["lease_record"]
    cases[2].legal_due_at = None
    save(session)
    assert read(session, Case) == [values(one) for one in cases]
    cases[0].state = "under_review"
    save(session)
    assert [one["state"] for one in read(session, Case)] == [
        "under_review",
        "received",
        "received",
        "received",
    ]


def test_a_value_that_is_set_to_what_it_was_writes_nothing(session: Session) -> None:
    case = row(Case, 1, number="C1")
    session.add(case)
    save(session)
    session.connection().exec_driver_sql("DELETE FROM approval.cases WHERE number = 'C1'")
    case.state = str(case.state)
    save(session)
    case.state = "accepted"
    with pytest.raises(StaleDataError, match=r"0 of 1 changed rows of approval\.cases"):
        save(session)


def test_what_was_left_out_is_what_the_table_says(session: Session) -> None:
    given = {name: some(c, 1) for name, c in Case.__mapper__.columns.items() if not c.nullable}
    del given["sequence"]
    session.add(Case(**given))
    save(session)
    (found,) = read(session, Case)
    assert found["sequence"] == 0
    assert found["legal_due_at"] is None


@pytest.mark.parametrize("service", ["intake"])
def test_a_row_whose_key_the_database_makes_has_it_afterwards(session: Session, service: str) -> None:
    miss = LookupMiss(asker=b"somebody", missed_at=MOMENT)
    session.add(miss)
    save(session)
    assert miss.id is not None
    assert values(miss) in read(session, LookupMiss)


def test_what_does_not_fit_is_refused_and_never_cut(session: Session) -> None:
    session.add(row(Case, 1, state="x" * 41))
    with pytest.raises(DataError):
        save(session)


def test_the_same_key_twice_is_refused(session: Session) -> None:
    session.add_all([row(Task, 1, id=uuid4()), row(Task, 1, id=uuid4())])
    with pytest.raises(IntegrityError):
        save(session)


@pytest.mark.parametrize("service", ["intake"])
def test_a_moment_without_a_zone_is_refused(session: Session, service: str) -> None:
    columns = TimelineEntry.__mapper__.columns.items()
    given = {name: some(c, 1) for name, c in columns} | {"at": datetime(2026, 1, 1)}  # noqa: DTZ001
    with pytest.raises(ValueError, match="naive"):
        append(session, TimelineEntry, [given])
