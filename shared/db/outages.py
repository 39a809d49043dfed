"""Outages of the database: what is nobody's fault, told by SQLSTATE.

The driver's classes do not tell it: psycopg2 files a server that turned read-only under InternalError, and a
connection torn in the middle of an answer under whatever it was reading. Everything that reaches the database
goes through `outages_told`, so that callers know one class.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.db.waiting import NotReached
from shared.errors import Unavailable

RETRY_AFTER_S = 2


class Outage(StrEnum):
    """What kind of outage; the word stands in log lines and in /readyz."""

    LOST = "lost"
    """No connection: refused, torn, terminated by an administrator, or the server starts or stops."""
    READ_ONLY = "read-only"
    """The server takes no writes: it is a standby now, or somebody made it read-only."""
    EXHAUSTED = "exhausted"
    """Disk, memory or connections have run out, in the server or in our own pool."""
    TIMED_OUT = "timed-out"
    """A lock, a statement or an idle transaction took too long."""
    CONTENDED = "contended"
    """Deadlock or serialisation failure: the same again will do."""
    NOT_AS_WITNESSED = "not-as-witnessed"
    """It is an older copy of itself, as what stands outside it knows; see `shared.bus.witness`."""


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE = {
    "25006": Outage.READ_ONLY,
    "25P03": Outage.TIMED_OUT,
    "25P04": Outage.TIMED_OUT,
    "40001": Outage.CONTENDED,
    "40P01": Outage.CONTENDED,
    "55P03": Outage.TIMED_OUT,
    "57014": Outage.TIMED_OUT,
}
_BY_SQLSTATE_CLASS = {
    "08": Outage.LOST,
    "53": Outage.EXHAUSTED,
    "57": Outage.LOST,
    # "Errors external to PostgreSQL itself": its disk fails it.
    "58": Outage.EXHAUSTED,
}


class DatabaseAway(Unavailable):
    """The database cannot do it now, which is nobody's fault: repeat, count no attempt, acknowledge nothing.

    `outage` is the kind, `sqlstate` PostgreSQL's code where there was an answer, `orig` the driver's error.
    Whether a commit that ended so happened is open.
    """

    def __init__(self, outage: Outage, orig: BaseException) -> None:
        super().__init__(retry_after_s=RETRY_AFTER_S)
        self.outage = outage
        self.orig = orig
        self.sqlstate: str | None = getattr(orig, "pgcode", None)

    @property
    def repeatable(self) -> bool:
        """Running the same again at once will do: nothing is away, somebody was only in the way."""
        return self.outage is Outage.CONTENDED


def outage_of(error: BaseException) -> Outage | None:
    """The outage that an error of SQLAlchemy or the driver amounts to; None for a mistake in a statement or
    its values, which happens again however often it is repeated."""
    if isinstance(error, DatabaseAway):
        return error.outage
    if isinstance(error, PoolTimeout):
        return Outage.EXHAUSTED
    cause = _driver_error(error)
    sqlstate: str | None = getattr(cause, "pgcode", None)
    if sqlstate:
        found = _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE_CLASS.get(sqlstate[:2])
        if found is not None:
            return found
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Outage.LOST
    # Without a code there was no answer, and these are the driver's two classes for that.
    if not sqlstate and isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
        return Outage.LOST
    return None


def is_unreachable(error: BaseException) -> bool:
    """No session with the database is to be had, for whomever: more than one that broke."""
    cause = error.orig if isinstance(error, DatabaseAway) else _driver_error(error)
    return isinstance(cause, NotReached)


@contextmanager
def outages_told() -> Iterator[None]:
    """Raises DatabaseAway for every outage that ends the block; other errors pass."""
    try:
        yield
    except (DBAPIError, PoolTimeout, psycopg2.Error) as error:
        outage = outage_of(error)
        if outage is None:
            raise
        raise DatabaseAway(outage, _driver_error(error)) from error


def _driver_error(error: BaseException) -> BaseException:
    return (error.orig or error) if isinstance(error, DBAPIError) else error
