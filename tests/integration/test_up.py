"""`onestop up`: several stand side by side, each finding its own; started by root, only the supervisor is
root, and who runs web or workers is no superuser."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pika
import psycopg2
import pytest
from pika.exceptions import ProbableAuthenticationError

from deploy import users
from deploy.errors import NothingRuns
from deploy.installation import remembered_settings
from deploy.processes import Identity, end, is_alive, run, spawn, wait_until
from deploy.services import SERVICES
from deploy.supervisor_state import read_state
from deploy.users import code_users, system_user
from shared.privacy.secret_files import SESSION_KEY, load_secret
from shared.sections import DbSettings
from shared.settings import Settings
from tests.support.installation import ROOT
from tests.support.log_ins import tokens_of
from tests.support.principals import citizen
from tests.support.servers import scratch_folder

pytestmark = pytest.mark.slow

START_S = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """An installation that is up; `place` is what names its data directory, if anything does."""

    data_dir: Path
    place: list[str]
    environment: dict[str, str]
    log: Path
    supervisor: subprocess.Popen[bytes]
    run_as: Identity | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the command answers to the user who started it."""
        command = [sys.executable, "-m", "deploy.cli", *arguments, *self.place]
        return run(command, environment=self.environment, run_as=self.run_as)

    def states(self) -> list[dict[str, Any]]:
        """What it keeps running."""
        found: list[dict[str, Any]] = read_state(self.data_dir)["processes"]
        return [one for one in found if one["name"] != "migrate"]

    def is_up(self) -> bool:
        """Everything runs; fails with its log when it has ended."""
        assert self.supervisor.poll() is None, self.log.read_text()[-3000:]
        try:
            states = self.states()
        except NothingRuns:
            return False
        # Before it has written anything the supervisor keeps nothing: that is not all of it.
        return bool(states) and all(one["state"] == "running" for one in states)

    @property
    def pids(self) -> dict[str, int]:
        """Its processes by name."""
        return {one["name"]: one["pid"] for one in self.states() if one["pid"]}

    def uid(self, name: str) -> int:
        """Who a process is."""
        return Path(f"/proc/{self.pids[name]}").stat().st_uid


def start(
    folder: Path, data_dir: Path, *arguments: str, named: bool, run_as: Identity | None = None
) -> Running:
    """Start one, without waiting for it."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("ONESTOP_", "XDG_"))}
    environment = {**outer, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    place = ["--data-dir", str(data_dir)] if named else []
    log = folder / "up.log"
    with log.open("wb") as output:
        supervisor = spawn(
            [sys.executable, "-m", "deploy.cli", "up", *arguments, *place],
            output=output.fileno(),
            environment=environment,
            run_as=run_as,
            cwd=Path("/"),
        )
    return Running(data_dir, place, environment, log, supervisor, run_as)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Running, Running]]:
    """Two that are started at once: one in a folder that is named, with one worker for all services; and one
    of an ordinary user where such a user's is found without, with the services apart."""
    [ordinary] = code_users(users.SERVICES)
    with scratch_folder() as first, scratch_folder() as home:
        if ordinary is not None:
            ordinary.own(home)
        started = (
            start(first, first / "data", "--broker", "local", "--scale", "web=2", named=True),
            start(home, home / ".local/share/onestop", "--apart", named=False, run_as=ordinary),
        )
        try:
            for one in started:
                assert wait_until(one.is_up, START_S, every_s=0.2), one.log.read_text()[-3000:]
            yield started
        finally:
            for one in started:
                end(one.supervisor, signal.SIGTERM, 60)


@pytest.fixture(scope="module")
def running(both: tuple[Running, Running]) -> Running:
    return both[0]


def test_each_process_is_who_it_must_be(running: Running) -> None:
    def uid_of(name: str) -> int:
        who = system_user(name)
        return os.geteuid() if who is None else who.uid

    for name in ("web.1", "web.2", "worker"):
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


def test_each_finds_its_own_and_no_address_is_used_twice(both: tuple[Running, Running]) -> None:
    settings = []
    ports: list[int] = []
    for one in both:
        shown = one.command("config", "show")
        assert shown.returncode == 0, shown.stdout
        settings.append(json.loads(shown.stdout))
        assert settings[-1]["db"]["host"] == remembered_settings(one.data_dir)["ONESTOP_DB__HOST"]
        ports += [settings[-1]["web"]["port"]]
        ports += [state["health_port"] for state in one.states() if state["health_port"]]
        assert one.command("trouble", "list").returncode == 0
        doctor = json.loads(one.command("doctor", "--json").stdout)["checks"]
        assert [check for check in doctor if check["ok"] is False] == []
        assert str(one.data_dir) in {check["found"] for check in doctor}
    assert settings[0]["db"]["host"] != settings[1]["db"]["host"]
    scaled, apart = (1 + 2) + 1, 2 + len(SERVICES)
    assert len(ports) == len(set(ports)) == scaled + apart


class Visitor:
    """Somebody who has logged in once, and comes anew each time, whichever process takes them."""

    def __init__(self, running: Running) -> None:
        found = remembered_settings(running.data_dir)
        secrets = Settings(db=DbSettings(host="/"), secrets_dir=Path(found["ONESTOP_SECRETS_DIR"]))
        tokens = tokens_of(load_secret(secrets, "intake", SESSION_KEY), lambda: datetime.now(UTC))
        token = tokens.issue(replace(citizen(uuid4()), session=uuid4()), 3600)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._url = f"http://127.0.0.1:{found['ONESTOP_WEB__PORT']}/api/v1/cases"

    def look(self, _: int) -> int:
        """How their question is answered."""
        return httpx.get(self._url, headers=self._headers, timeout=START_S, trust_env=False).status_code


def answers_by_process(running: Running) -> dict[str, int]:
    """How many each web process has answered since it was started."""
    found = {}
    for one in running.states():
        if one["group"] == "web":
            where = f"http://127.0.0.1:{one['health_port']}/metrics"
            measured = httpx.get(where, timeout=START_S, trust_env=False).text
            [*counts] = re.findall(
                r'^onestop_http_seconds_count\{.*route="/api/v1/cases".*\} (\S+)$', measured, re.MULTILINE
            )
            found[one["name"]] = sum(int(float(count)) for count in counts)
    return found


def test_two_web_processes_share_a_port_and_one_that_is_killed_refuses_nobody(running: Running) -> None:
    visitor = Visitor(running)

    def both_answer() -> bool:
        with ThreadPoolExecutor(8) as people:
            assert {*people.map(visitor.look, range(40))} == {200}
        return all(answers_by_process(running).values())

    assert running.is_up()
    assert wait_until(both_answer, START_S), answers_by_process(running)
    killed = running.pids["web.1"]
    with ThreadPoolExecutor(4) as people:
        os.kill(killed, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(killed), START_S)
        # Nobody has taken its place yet, or somebody just does.
        assert {*people.map(visitor.look, range(200))} == {200}
    assert wait_until(lambda: running.is_up() and running.pids.get("web.1") != killed, START_S)
    assert wait_until(both_answer, START_S), answers_by_process(running)


def test_a_foreign_subscriber_logs_in_at_the_private_node_at_once_and_not_when_it_is_removed(
    running: Running, tmp_path: Path
) -> None:
    password_file = tmp_path / "archive.password"
    chosen = ["archive", "--service", "intake", "--password-file", str(password_file)]
    added = running.command("subscribers", "add", *chosen)
    assert added.returncode == 0, added.stdout
    address = pika.URLParameters(remembered_settings(running.data_dir)["ONESTOP_BROKER_URL"])
    address.credentials = pika.PlainCredentials("onestop-public-archive", password_file.read_text().strip())
    with closing(pika.BlockingConnection(address)) as connection:
        assert connection.channel().basic_get("onestop.public.archive") == (None, None, None)
    removed = running.command("subscribers", "remove", "archive", "--yes")
    assert removed.returncode == 0, removed.stdout
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(address)


def test_one_ends_and_the_other_does_not_notice(both: tuple[Running, Running]) -> None:
    stays, goes = both
    before = stays.pids
    answer = goes.command("down")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert goes.supervisor.wait(10) == 0
    assert stays.is_up()
    assert stays.pids == before
    assert goes.command("ps").returncode == 3
