"""Readiness is told by a write: whatever keeps a service from writing is noticed at once, and its end too."""

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from deploy.postgres import PostgresServer
from deploy.processes import free_port, wait_until
from shared.db.engine import engine_for
from shared.db.outages import DatabaseAway, Outage
from shared.db.transaction import transaction
from shared.db.writable import WITHIN_S, check_writable
from shared.sections import DbSettings
from shared.settings import Settings
from tests.support.servers import fill, scratch_folder, small_disk

DATABASE = "writable"


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """With the one table that the check names."""
    prepare(postgres)
    yield postgres
    postgres.psql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def prepare(server: PostgresServer) -> None:
    server.psql(f"CREATE DATABASE {DATABASE}")
    server.psql("CREATE SCHEMA test; CREATE TABLE test.outbox (case_no text)", DATABASE)


@pytest.fixture
def connect() -> Iterator[Callable[[PostgresServer], Engine]]:
    """An engine as web processes have it."""
    made: list[Engine] = []

    def make(server: PostgresServer) -> Engine:
        db = DbSettings(host=server.host, port=server.port, name=DATABASE)
        settings = Settings(environment="test", db=db, secrets_dir=server.secrets_dir)
        made.append(engine_for(settings, db.admin_user, people_wait=True))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def state(engine: Engine) -> str:
    """The outage that keeps us from writing, or that there is none."""
    try:
        check_writable(engine, "test")
    except DatabaseAway as away:
        return away.outage
    return "writable"


Connect = Callable[[PostgresServer], Engine]


def test_it_leaves_nothing_behind(server: PostgresServer, connect: Connect) -> None:
    engine = connect(server)
    assert state(engine) == "writable"
    assert (
        server.psql("SELECT count(*), pg_relation_size('test.outbox') FROM test.outbox", DATABASE) == "0|0\n"
    )


def test_a_read_only_server(server: PostgresServer, connect: Connect) -> None:
    engine = connect(server)
    assert state(engine) == "writable"
    server.psql("ALTER SYSTEM SET default_transaction_read_only = on")
    server.psql("SELECT pg_reload_conf()")
    try:
        assert wait_until(lambda: state(engine) == Outage.READ_ONLY, 5)
    finally:
        server.psql(
            "SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only"
        )
        server.psql("SELECT pg_reload_conf()")
    assert wait_until(lambda: state(engine) == "writable", 5)


def test_a_locked_table(server: PostgresServer, connect: Connect) -> None:
    engine = connect(server)
    with transaction(engine, "test") as other:
        other.execute(text("LOCK TABLE test.outbox"))
        began = time.monotonic()
        assert state(engine) == Outage.TIMED_OUT
        assert time.monotonic() - began < WITHIN_S
    assert state(engine) == "writable"


def test_a_table_that_is_not_there(server: PostgresServer, connect: Connect) -> None:
    with pytest.raises(DBAPIError):
        check_writable(connect(server), "nobody")


def test_no_connection_is_free(server: PostgresServer, connect: Connect) -> None:
    engine = connect(server)
    held = [engine.connect() for _ in range(5)]
    assert state(engine) == Outage.EXHAUSTED
    for connection in held:
        connection.close()
    assert state(engine) == "writable"


def test_a_full_disk(connect: Connect) -> None:
    with scratch_folder() as folder, small_disk(folder):
        server = PostgresServer(folder / "data", tcp_port=free_port())
        server.start()
        try:
            prepare(server)
            engine = connect(server)
            assert state(engine) == "writable"
            ballast = folder / "ballast"
            fill(ballast)
            assert state(engine) == Outage.EXHAUSTED
            ballast.unlink()
            assert state(engine) == "writable"
        finally:
            server.stop()
