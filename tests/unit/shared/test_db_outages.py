"""Outages of the database are told by SQLSTATE, whatever class the driver files them under."""

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.db.outages import DatabaseAway, Outage, outage_of, outages_told

OUTAGES = {
    "08000": Outage.LOST,
    "08003": Outage.LOST,
    "08006": Outage.LOST,
    "08P01": Outage.LOST,
    "25006": Outage.READ_ONLY,
    "25P03": Outage.TIMED_OUT,
    "40001": Outage.CONTENDED,
    "40P01": Outage.CONTENDED,
    "53000": Outage.EXHAUSTED,
    "53100": Outage.EXHAUSTED,
    "53200": Outage.EXHAUSTED,
    "53300": Outage.EXHAUSTED,
    "53400": Outage.EXHAUSTED,
    "55P03": Outage.TIMED_OUT,
    "57014": Outage.TIMED_OUT,
    "57P01": Outage.LOST,
    "57P02": Outage.LOST,
    "57P03": Outage.LOST,
    "57P05": Outage.LOST,
    "58030": Outage.EXHAUSTED,
}
MISTAKES = ("22001", "23505", "23503", "25P02", "42501", "42601", "42P01", "54000", "P0001", "XX000")


def said(sqlstate: str | None, kind: type[psycopg2.Error] | None = None) -> psycopg2.Error:
    """The driver's error with this code."""
    kind = kind or psycopg2.errors.lookup(str(sqlstate))
    error = kind("words that hold a value")
    if sqlstate is not None:
        error.__setstate__({"pgcode": sqlstate})  # type: ignore[no-untyped-call]
    return error


def wrapped(error: Exception, *, lost: bool = False) -> DBAPIError:
    """As SQLAlchemy hands it on."""
    return DatabaseError("SELECT 1", None, error, connection_invalidated=lost)


@pytest.mark.parametrize("sqlstate", OUTAGES)
def test_outages_are_told_by_their_code(sqlstate: str) -> None:
    error = said(sqlstate)
    with pytest.raises(DatabaseAway) as raised, outages_told():
        raise wrapped(error)
    away = raised.value
    assert (away.outage, away.sqlstate, away.orig) == (OUTAGES[sqlstate], sqlstate, error)
    assert (away.status, away.code) == (503, "service.unavailable")
    assert away.repeatable is (sqlstate in ("40001", "40P01"))
    assert outage_of(error) is outage_of(away) is OUTAGES[sqlstate], "raw from the driver as well"
    assert "value" not in str(away)


@pytest.mark.parametrize("sqlstate", MISTAKES)
def test_mistakes_are_no_outages(sqlstate: str) -> None:
    error = wrapped(said(sqlstate))
    with pytest.raises(DatabaseError) as raised, outages_told():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("kind", [psycopg2.OperationalError, psycopg2.InterfaceError])
def test_no_answer_is_a_lost_connection(kind: type[psycopg2.Error]) -> None:
    assert outage_of(said(None, kind)) is Outage.LOST
    assert outage_of(wrapped(said(None, kind))) is Outage.LOST


def test_a_torn_connection_has_any_class() -> None:
    torn = Exception("error with status PGRES_TUPLES_OK and no message from the libpq")
    assert outage_of(wrapped(torn, lost=True)) is Outage.LOST
    assert outage_of(wrapped(said("22001"), lost=True)) is Outage.LOST
    assert outage_of(wrapped(said(None, psycopg2.ProgrammingError))) is None


def test_a_pool_without_a_free_connection_is_exhausted() -> None:
    with pytest.raises(DatabaseAway) as raised, outages_told():
        raise PoolTimeout("QueuePool limit")
    assert (raised.value.outage, raised.value.sqlstate) == (Outage.EXHAUSTED, None)


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), outages_told():
        raise ZeroDivisionError
    assert outage_of(OSError()) is None
