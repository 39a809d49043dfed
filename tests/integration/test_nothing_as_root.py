"""`onestop up`, started by root: only the supervisor is root, and who runs web or workers is no superuser."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from deploy import users
from deploy.errors import NothingRuns
from deploy.installation import remembered_settings
from deploy.processes import end, run, spawn, wait_until
from deploy.supervisor_state import read_state
from deploy.users import code_users, system_user
from tests.support.installation import ROOT
from tests.support.servers import scratch_folder

pytestmark = pytest.mark.slow

START_S = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """An installation that is up."""

    data_dir: Path
    pids: dict[str, int]

    def uid(self, name: str) -> int:
        """Who a process is."""
        return Path(f"/proc/{self.pids[name]}").stat().st_uid


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with scratch_folder() as folder:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")}
        data_dir = folder / "data"
        command: list[str | Path] = [sys.executable, "-m", "deploy.cli", "up", "--broker", "local"]
        with (folder / "up.log").open("wb") as output:
            process = spawn(
                [*command, "--port", "0", "--data-dir", data_dir],
                output=output.fileno(),
                environment=outer,
                cwd=ROOT,
            )

        def is_up() -> bool:
            try:
                states = read_state(data_dir)["processes"]
            except NothingRuns:
                return process.poll() is not None
            # Before it has written anything the supervisor keeps nothing: that is not all of it.
            kept = [one for one in states if one["name"] != "migrate"]
            runs = bool(kept) and all(one["state"] == "running" for one in kept)
            return process.poll() is not None or runs

        try:
            assert wait_until(is_up, START_S, every_s=0.2), (folder / "up.log").read_text()[-3000:]
            assert process.poll() is None, (folder / "up.log").read_text()[-3000:]
            states = read_state(data_dir)["processes"]
            yield Running(data_dir, {one["name"]: one["pid"] for one in states if one["pid"]})
        finally:
            end(process, signal.SIGTERM, 60)


def test_each_process_is_who_it_must_be(running: Running) -> None:
    def uid_of(name: str) -> int:
        who = system_user(name)
        return os.geteuid() if who is None else who.uid

    workers = {name for name in running.pids if name.startswith("worker.")}
    assert len(workers) == 4
    for name in ("web", *workers):
        assert running.uid(name) == uid_of(users.SERVICES), name
    assert running.uid("postgres") == uid_of(users.DATABASE)
    assert running.uid("rabbitmq") == uid_of(users.BROKER)


def test_who_runs_web_and_workers_reads_their_secrets_and_no_others(running: Running) -> None:
    who = system_user(users.SERVICES)
    secrets = running.data_dir / "secrets"
    assert run(["cat", secrets / "notify" / "db.password"], run_as=who).returncode == 0
    if who is not None:
        for closed in (
            secrets / "migrate" / "db_admin.password",
            running.data_dir / "environment.json",
            running.data_dir / "postgres" / "data" / "PG_VERSION",
            running.data_dir / "rabbitmq" / "rabbitmq.conf",
        ):
            assert run(["test", "-e", closed]).returncode == 0, closed
            assert run(["cat", closed], run_as=who).returncode != 0, closed


def test_nobody_is_its_superuser_without_the_password(running: Running) -> None:
    found = remembered_settings(running.data_dir)
    where = {"host": found["ONESTOP_DB__HOST"], "port": found["ONESTOP_DB__PORT"], "dbname": "onestop"}
    script = f"import psycopg2; psycopg2.connect(user='onestop_admin', **{json.dumps(where)})"
    for name in (users.SERVICES, users.DATABASE):
        [who] = code_users(name)
        answer = run([sys.executable, "-c", script], run_as=who)
        assert "password" in answer.stdout, answer.stdout
        assert answer.returncode != 0
    password = (running.data_dir / "secrets" / "migrate" / "db_admin.password").read_text().strip()
    connected = psycopg2.connect(user="onestop_admin", password=password, **where)  # type: ignore[call-overload]
    with closing(connected) as connection:
        assert connection.info.user == "onestop_admin"


def test_the_children_of_the_supervisor_are_all_there_are(running: Running) -> None:
    """None of ours is left as root but the supervisor itself."""
    if os.geteuid() != 0:
        return
    commands = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == 0:
                commands[process.name] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    ours = [command for command in commands.values() if str(running.data_dir) in command]
    assert len(ours) == 1, ours
    assert " up " in ours[0]
