"""The private PostgreSQL: durable, recovers from a kill, refuses foreign data, ends with its parent."""

import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from deploy.errors import AlreadyRunning, OtherVersion
from deploy.postgres import START_S, PostgresServer
from deploy.processes import children_of, end, free_port, kill_pid, spawn, wait_until
from deploy.users import DATABASE, system_user
from tests.unit.deploy.orphans import pids_left_by

_START_AND_DIE = """
import sys
from pathlib import Path
from deploy.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]))
server.start()
print(server.pid, *Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split())
"""


@pytest.fixture
def server(scratch: Path) -> Iterator[PostgresServer]:
    """A started server on new data."""
    server = PostgresServer(scratch / "data")
    server.start()
    yield server
    server.stop("immediate")


def ask(server: PostgresServer, statement: str, **over: Any) -> list[tuple[Any, ...]]:
    """Run one statement as the admin and return its rows."""
    where = {
        "host": server.host,
        "port": server.port,
        "user": server.admin_user,
        "password": server.admin_password,
        "dbname": "onestop",
        **over,
    }
    with closing(psycopg2.connect(**where)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def title_of(pid: int) -> str:
    """What a child of the server calls itself."""
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_new_server_is_durable_and_speaks_utf8(server: PostgresServer) -> None:
    names = "fsync", "full_page_writes", "data_checksums", "server_encoding", "lc_collate", "listen_addresses"
    rows = ask(
        server,
        "SELECT current_setting('fsync'), current_setting('full_page_writes'),"
        " current_setting('data_checksums'), pg_encoding_to_char(encoding), datcollate, "
        "current_setting('listen_addresses')"
        " FROM pg_database WHERE datname = current_database()",
    )
    assert dict(zip(names, rows[0], strict=True)) == {
        "fsync": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "listen_addresses": "",
    }


def test_nobody_else_may_enter_the_socket_folder(server: PostgresServer) -> None:
    assert stat.S_IMODE(Path(server.host).stat().st_mode) == 0o700
    assert len(os.fsencode(server.host)) < 100


def test_whoever_runs_as_the_same_user_is_not_its_superuser_for_that(server: PostgresServer) -> None:
    for wrong in ("", "wrong"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            ask(server, "SELECT 1", password=wrong)
    [password] = server.secrets_dir.rglob("*.password")
    assert stat.S_IMODE(password.stat().st_mode) == 0o600


def test_what_was_committed_outlives_a_kill(server: PostgresServer) -> None:
    ask(server, "CREATE TABLE kept AS SELECT 7 AS n")
    before = server.pid
    server.kill()
    server.start()
    assert server.pid != before
    assert ask(server, "SELECT n FROM kept") == [(7,)]


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is no server, of the user whose process PostgreSQL would take for its forerunner."""
    process = spawn(["sleep", "600"], output=subprocess.DEVNULL, run_as=system_user(DATABASE))
    yield process.pid
    end(process, signal.SIGKILL, 0)


def name_instead(file: Path, pid: int) -> None:
    """Write another process into a lock file that a killed server left."""
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(pid), *lines[1:]]) + "\n")


def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(server: PostgresServer, stranger: int) -> None:
    server.kill()
    name_instead(server.data_dir / "postmaster.pid", stranger)
    server.start()
    assert ask(server, "SELECT 1") == [(1,)]


def test_a_stale_lock_of_its_socket_that_names_a_stranger_is_no_obstacle(
    server: PostgresServer, stranger: int
) -> None:
    server.kill()
    name_instead(Path(server.host) / f".s.PGSQL.{server.port}.lock", stranger)
    server.start()
    assert ask(server, "SELECT 1") == [(1,)]


def test_a_start_waits_for_the_last_child_of_a_killed_server(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pid] = [child for child in children_of(server.pid or 0) if "checkpointer" in title_of(child)]
    os.kill(pid, signal.SIGSTOP)
    os.kill(server.pid or 0, signal.SIGKILL)
    assert wait_until(lambda: server.pid is None, START_S)

    def wait_until_killed(condition: Callable[[], bool], timeout_s: float) -> bool:
        assert not condition(), "a child is left, and it would start"
        kill_pid(pid)
        return wait_until(condition, timeout_s)

    with monkeypatch.context() as patched:
        patched.setattr("deploy.postgres.wait_until", wait_until_killed)
        server.launch(subprocess.DEVNULL)
    assert wait_until(server.is_ready, START_S)
    assert ask(server, "SELECT 1") == [(1,)]


def test_a_stopped_server_starts_again_on_the_same_data(server: PostgresServer) -> None:
    ask(server, "CREATE TABLE kept AS SELECT 7 AS n")
    server.stop()
    with pytest.raises(psycopg2.OperationalError):
        ask(server, "SELECT 1")
    server.start()
    assert ask(server, "SELECT n FROM kept") == [(7,)]


def test_data_of_another_major_version_are_refused_with_the_way_out(server: PostgresServer) -> None:
    server.stop()
    (server.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(OtherVersion, match="pg_dumpall"):
        server.start()


def test_a_second_server_on_the_same_data_is_refused(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.postgres.STOP_S", 0.2)
    with pytest.raises(AlreadyRunning):
        PostgresServer(server.data_dir).start()
    assert ask(server, "SELECT 1") == [(1,)]


def test_a_long_folder_gets_a_short_socket(scratch: Path) -> None:
    server = PostgresServer(scratch / ("long-" * 25) / "data")
    server.data_dir.parent.mkdir(mode=0o711)
    server.start()
    try:
        assert len(os.fsencode(server.host)) < 100
        assert ask(server, "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_tcp_is_loopback_only_and_wants_the_password(scratch: Path) -> None:
    server = PostgresServer(scratch / "data", tcp_port=free_port())
    server.start()
    try:
        assert ask(server, "SHOW listen_addresses") == [("127.0.0.1",)]
        assert ask(server, "SELECT 1", host="127.0.0.1") == [(1,)]
        with pytest.raises(psycopg2.OperationalError, match="password"):
            ask(server, "SELECT 1", host="127.0.0.1", password="wrong")
    finally:
        server.stop()


def test_nothing_outlives_a_killed_parent_and_the_data_are_whole(scratch: Path) -> None:
    pids, left = pids_left_by(_START_AND_DIE, str(scratch / "data"))
    assert len(pids) > 3
    assert left == []
    server = PostgresServer(scratch / "data")
    server.start()
    try:
        assert ask(server, "SELECT 1") == [(1,)]
    finally:
        server.stop()
