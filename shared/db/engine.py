"""One engine per role and process."""

import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Dialect, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import NullPool

from shared.db.outages import Outage, outage_of
from shared.db.roles import service_of
from shared.db.waiting import BoundedConnection, NotReached, connections_within, said_something
from shared.privacy.secret_files import ADMIN_PASSWORD, DB_PASSWORD, MIGRATE, load_password
from shared.settings import Settings

ANSWER_S = 35.0
"""Longer than the roles' statement_timeout of 30 s: as long as the server keeps its own limits, they hold."""
ANSWER_PEOPLE_S = 6.0
"""Longer than the roles' lock_timeout of 5 s; nobody waits longer for a page."""
POOL_SIZE = 5
_PING_S = 1.0
PING_AFTER_S = 1.0
"""A session that answered this short while ago is not asked first whether it lives."""
_ANSWERED_AT = "answered_at"
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def engine_for(
    settings: Settings,
    role: str,
    *,
    pool_size: int = POOL_SIZE,
    people_wait: bool = False,
    direct: bool = False,
) -> Engine:
    """The engine of one database role. Nothing connects before the first use; with a `pool_size` of 0 each
    connection is closed after it, for what is rarely done.

    `direct` is for what needs a session of its own (`database_url`). `people_wait` is for processes that
    answer people: they wait less, and a pooled connection that died with the database is replaced instead of
    failing their request. Workers repeat by themselves and save the round trip.
    """
    connections = connections_within(
        settings.db.connect_timeout_s, ANSWER_PEOPLE_S if people_wait else ANSWER_S
    )
    pool: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 0.8}
    engine = create_engine(
        database_url(settings, role, direct=direct),
        **(pool if pool_size else {"poolclass": NullPool}),
        connect_args={"connection_factory": connections, **_KEEPALIVE},
        hide_parameters=True,
        executemany_mode="values_plus_batch",
        insertmanyvalues_page_size=1000,
        executemany_batch_page_size=1000,
    )
    event.listen(engine, "do_connect", resolve_first)
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "handle_error", _drop_what_is_away)
    if people_wait:
        _ping_first(engine)
    return engine


def resolve_first(_: Dialect, __: Any, ___: Any, parameters: dict[str, Any]) -> None:
    """Ask for the server's name before libpq does, in C, where it holds up every green thread of a worker. A
    listener of `do_connect`."""
    host = parameters.get("host", "")
    if not host or host.startswith("/"):
        return
    try:
        found = socket.getaddrinfo(host, parameters["port"], type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotReached(f"the name of the server is not known: {error.strerror}") from None
    addresses = list(dict.fromkeys(address[4][0] for address in found))
    # The name stays, for certificates; one for each address, as libpq wants it.
    parameters |= {"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(map(str, addresses))}


def _connect(dialect: Dialect, _: Any, arguments: Sequence[Any], parameters: Mapping[str, Any]) -> Any:
    """As the dialect does; a session that is not to be had is told from one that broke."""
    try:
        return dialect.connect(*arguments, **parameters)
    except psycopg2.OperationalError as error:
        raise NotReached(str(error)) from error


def _drop_what_is_away(context: ExceptionContext) -> None:
    """A session with a server that is lost or takes no writes is of no use, nor are the others in the pool: a
    new one may reach the server that took over, or this one when it has come back."""
    if outage_of(context.original_exception) in (Outage.LOST, Outage.READ_ONLY):
        context.is_disconnect = True


def _ping_first(engine: Engine) -> None:
    """As `pool_pre_ping`, which would wait for the ping as long as for any answer."""

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def note(_: Any, record: Any) -> None:
        record.info[_ANSWERED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: BoundedConnection, record: Any, _: Any) -> None:
        idle_s = time.monotonic() - record.info[_ANSWERED_AT]
        # A session that ended has said so; one whose server froze this very second shows it soon enough.
        if idle_s > PING_AFTER_S or said_something(connection):
            _ping(engine.dialect, connection)


def _ping(dialect: Dialect, connection: BoundedConnection) -> None:
    usual_s, connection.answer_s = connection.answer_s, _PING_S
    try:
        dialect.do_ping(connection)  # type: ignore[arg-type]
    except psycopg2.Error as error:
        raise InvalidatePoolError from error
    finally:
        connection.answer_s = usual_s


def database_url(settings: Settings, role: str, *, direct: bool = False) -> URL:
    """How `role` reaches the database: psycopg2, which eventlet can make green (not psycopg 3).

    `direct` goes past a pooler where that address is named, as the admin always does: LISTEN and locks of a
    session are lost where each transaction gets another session.

    Raises SecretUnusable when this process has not been given the password of that role.
    """
    db = settings.db
    if role == db.admin_user:
        direct = True
        password = load_password(settings, MIGRATE, ADMIN_PASSWORD)
    else:
        password = load_password(settings, service_of(role), DB_PASSWORD)
    query = {"connect_timeout": str(db.connect_timeout_s)}
    host, port = db.host, db.port
    if direct and db.direct_host is not None:
        host, port = db.direct_host, db.direct_port or db.port
    socket = host.startswith("/")
    if socket:
        query["host"] = host
    return URL.create(
        "postgresql+psycopg2",
        username=role,
        password=password,
        host=None if socket else host,
        port=port,
        database=db.name,
        query=query,
    )
