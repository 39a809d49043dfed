"""Engines: no wait without end, and sessions of a server that is away are not kept."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg2.extensions
import pytest
from sqlalchemy import Engine, text

from deploy.postgres import PostgresServer
from shared.db import engine as engines
from shared.db.engine import engine_for
from shared.db.outages import DatabaseAway, Outage
from shared.db.transaction import call, transaction
from shared.sections import DbSettings
from shared.settings import Settings

Build = Callable[..., Engine]


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """A database of our own."""
    name = f"engine_{uuid4().hex[:8]}"
    postgres.psql(f"CREATE DATABASE {name}")
    yield name
    postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def build(postgres: PostgresServer, database: str) -> Iterator[Build]:
    """Makes engines that are disposed of in the end."""
    made: list[Engine] = []

    def make(**options: object) -> Engine:
        db = DbSettings(host=postgres.host, port=postgres.port, name=database, connect_timeout_s=1)
        settings = Settings(environment="test", db=db, secrets_dir=postgres.secrets_dir)
        made.append(engine_for(settings, db.admin_user, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def ask(engine: Engine, statement: str = "SELECT pg_backend_pid()") -> int:
    with transaction(engine, "test") as connection:
        return int(connection.execute(text(statement)).scalar_one())


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_says_nothing_is_lost(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWER_S", 0.3)
    engine = build()
    pid = ask(engine)
    with frozen(pid):
        with pytest.raises(DatabaseAway) as raised:
            ask(engine)
        assert raised.value.outage is Outage.LOST
        assert ask(engine) != pid, "the next one has a session of its own, though that one still hangs"


def test_an_answer_may_take_its_time_within_the_bound(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWER_S", 20.0)
    assert ask(build(), "SELECT 7 FROM pg_sleep(0.3)") == 7


def test_whoever_answers_people_finds_out_before_the_request(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PING_AFTER_S", 0.0)
    engine = build(people_wait=True)
    pid = ask(engine)
    with frozen(pid):
        began = time.monotonic()
        assert ask(engine) != pid
        assert time.monotonic() - began < engines.ANSWER_PEOPLE_S / 2


def test_a_connection_that_never_comes_about(
    build: Build, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build()
    assert postgres.pid is not None
    with frozen(postgres.pid):
        began = time.monotonic()
        with pytest.raises(DatabaseAway):
            ask(engine)
        assert time.monotonic() - began < 5
    assert ask(engine) > 0


@pytest.mark.parametrize("people_wait", [True, False])
def test_sessions_of_a_read_only_time_are_not_kept(
    build: Build, postgres: PostgresServer, database: str, people_wait: bool
) -> None:
    engine = build(people_wait=people_wait)
    ask(engine, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (1) RETURNING n")
    postgres.psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    engine.dispose()
    # Several sessions lie in the pool when the database takes writes again.
    with transaction(engine, "test") as one, transaction(engine, "test") as other:
        for connection in (one, other):
            assert connection.execute(text("SELECT n FROM kept")).scalar_one() == 1
    postgres.psql(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    with pytest.raises(DatabaseAway) as raised:
        ask(engine, "INSERT INTO kept VALUES (2) RETURNING n")
    assert (raised.value.outage, raised.value.sqlstate) == (Outage.READ_ONLY, "25006")
    for n in (3, 4, 5):
        assert ask(engine, f"INSERT INTO kept VALUES ({n}) RETURNING n") == n


@pytest.mark.parametrize("people_wait", [True, False])
def test_all_sessions_terminated_at_once(build: Build, postgres: PostgresServer, people_wait: bool) -> None:
    engine = build(people_wait=people_wait)
    with transaction(engine, "test") as one, transaction(engine, "test") as other:
        pids = [c.execute(text("SELECT pg_backend_pid()")).scalar_one() for c in (one, other)]
    for pid in pids:
        postgres.psql(f"SELECT pg_terminate_backend({pid})")
    if not people_wait:
        with pytest.raises(DatabaseAway):
            ask(engine)
    assert ask(engine) not in pids
    assert ask(engine) not in pids


def test_a_session_in_use_is_not_asked_whether_it_lives(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build(people_wait=True)
    asked: list[object] = []
    monkeypatch.setattr(engine.dialect, "do_ping", asked.append)
    monkeypatch.setattr(engines, "PING_AFTER_S", 60.0)
    ask(engine)
    ask(engine)
    assert asked == []
    monkeypatch.setattr(engines, "PING_AFTER_S", 0.0)
    ask(engine)
    assert len(asked) == 1


def test_one_statement_alone_is_one_statement(build: Build) -> None:
    engine = build(pool_size=1)
    ask(engine)
    for n in range(2):
        assert call(engine, "test", text("SELECT CAST(:n AS integer) AS n"), {"n": n}).n == n
    with transaction(engine, "test") as connection:
        driver = connection.connection.driver_connection
        # A level of its own is told the server each time the session goes from one way to the other.
        assert isinstance(driver, psycopg2.extensions.connection)
        assert (driver.autocommit, driver.isolation_level) == (False, None)
