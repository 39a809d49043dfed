"""An installation with all its processes, somebody who applies over HTTP, and a look at how it all ends."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from deploy.installation import free_ports
from deploy.processes import spawn, wait_until
from deploy.services import SERVICES
from shared.privacy.secret_files import SESSION_KEY, load_secret
from tests.support.hall import application
from tests.support.installation import ROOT, Citizen, Installation, Worker, wait_for
from tests.support.log_ins import tokens_of
from tests.support.principals import citizen
from tests.support.proxy import Proxy

WORKERS = (("intake", "materials"), ("approval", "notify"))
"""One process for two services each: as many as two cores start quickly."""
NOTICES = 2
"""Of a case that nothing is missing from: received, accepted."""
HOST = "db.onestop.test"
"""The database as processes know it that have a table of names of their own."""


_NOBODY_LISTENS = "127.9.9.8"
_NOBODY_ANSWERS = f"127.10.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
"""Name servers: where none is, which is known at once, and this process's own, which says nothing."""


class Names:
    """A table of host names that only the processes below it see, so that a name can be gone."""

    def __init__(self, folder: Path) -> None:
        self._hosts = folder / "hosts"
        self._resolver = folder / "resolv.conf"
        self._ask_at(_NOBODY_LISTENS)
        self._names: dict[str, str] = {}
        self._write()

    @staticmethod
    def are_possible() -> bool:
        """Only root may give processes a table of their own."""
        return (
            os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
        )

    @property
    def wrap(self) -> list[str]:
        """What stands before a command so that it sees these names."""
        script = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._hosts), str(self._resolver)]

    def add(self, name: str) -> None:
        """It is on this machine."""
        self._names[name] = "127.0.0.1"
        self._write()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Nobody knows it for a while."""
        del self._names[name]
        self._write()
        try:
            yield
        finally:
            self.add(name)

    @contextmanager
    def without_answer(self, name: str) -> Iterator[None]:
        """Nobody knows it for a while, and who could know it says nothing."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((_NOBODY_ANSWERS, 53))
            self._ask_at(_NOBODY_ANSWERS)
            try:
                with self.without(name):
                    yield
            finally:
                self._ask_at(_NOBODY_LISTENS)

    def _ask_at(self, address: str) -> None:
        self._resolver.write_text(f"nameserver {address}\n", encoding="ascii")

    def _write(self) -> None:
        # In place: what is mounted is the file, not its name.
        lines = ["127.0.0.1 localhost", *(f"{where} {name}" for name, where in self._names.items())]
        self._hosts.write_text("\n".join(lines) + "\n", encoding="ascii")


@dataclass(frozen=True, slots=True)
class ProxiedSystem:
    """A system whose processes reach the database by a name, where that is possible, and over a proxy."""

    system: "System"
    proxy: Proxy
    names: Names | None


@dataclass(slots=True)
class System:
    """A web process, two workers, and one citizen. `numbers` are the cases that were answered so far;
    `health_ports` are where the web process and each worker tell how they are."""

    made: Installation
    port: int
    web: Worker
    workers: list[Worker]
    health_ports: list[int]
    who: Citizen
    token: str
    numbers: set[str] = field(default_factory=set)
    slowest_s: float = 0.0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20, trust_env=False))

    def apply(self, key: str) -> httpx.Response:
        """One application under this key; how long the answer took is kept."""
        began = time.monotonic()
        try:
            answer = self.client.post(
                f"http://127.0.0.1:{self.port}/api/v1/cases",
                json=application(self.who),
                headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": key},
            )
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if answer.status_code == 201:
            self.numbers.add(answer.json()["number"])
        return answer

    def look(self, accept: str) -> httpx.Response:
        """One's own cases, as page or as JSON."""
        page = accept == "text/html"
        headers = {"Accept": accept} | ({} if page else {"Authorization": f"Bearer {self.token}"})
        path = "/" if page else "/api/v1/cases"
        return self.client.get(f"http://127.0.0.1:{self.port}{path}", headers=headers)

    def apply_until_taken(self, key: str, within_s: float = 20.0) -> str:
        """The same request until it is taken; the case number."""
        found: list[httpx.Response] = []

        def taken() -> bool:
            found.append(self.apply(key))
            return found[-1].status_code == 201

        wait_for(taken, "an application is taken", within_s)
        return str(found[-1].json()["number"])

    def readiness(self) -> dict[str, bool | str]:
        """Web and workers by name: ready, or what their /readyz says."""
        return {
            name: _answers(port, "/readyz")
            for name, port in zip(
                ["web", *("+".join(services) for services in WORKERS)], self.health_ports, strict=True
            )
        }

    def all_ready(self) -> bool:
        """Every process would take work."""
        return all(ready is True for ready in self.readiness().values())

    def all_unready(self) -> bool:
        """No process would take work."""
        return all(ready is not True for ready in self.readiness().values())

    def all_alive(self) -> bool:
        """Every process answers, whatever else is away: nobody has a reason to start it again."""
        return all(_answers(port, "/healthz") is True for port in self.health_ports)

    def pids(self) -> list[int]:
        """The processes that are alive."""
        return [p.pid for p in (self.web, *self.workers) if p.process.poll() is None]

    def are_complete(self) -> bool:
        """Every case that was answered is under review, with its notices, and nothing is under way."""
        rows = self.made.rows("SELECT number, state FROM intake.cases")
        if {row.number for row in rows if row.state == "under_review"} != self.numbers:
            return False
        left = " + ".join(
            f"(SELECT count(*) FROM {s}.outbox WHERE sent_at IS NULL)"
            f" + (SELECT count(*) FROM {s}.inbox) + (SELECT count(*) FROM {s}.messages)"
            for s in SERVICES
        )
        return self.made.value(f"SELECT {left}") == 0 and all(map(self.made.has_heard_all, self.numbers))

    def check_once(self) -> None:
        """Exactly these cases, each with one task and its notices, nothing parked."""
        assert {row.number for row in self.made.rows("SELECT number FROM intake.cases")} == self.numbers
        tasks = self.made.rows("SELECT case_no, count(*) FROM approval.tasks GROUP BY case_no")
        assert {tuple(row) for row in tasks} == {(number, 1) for number in self.numbers}
        told = self.made.rows("SELECT case_no, count(*) FROM notify.inbox_messages GROUP BY case_no")
        assert {tuple(row) for row in told} == {(number, NOTICES) for number in self.numbers}
        for service in SERVICES:
            assert self.made.value(f"SELECT count(*) FROM {service}.undecodable") == 0
            assert self.made.unfinished(service) == 0

    def wait_until_complete(self, within_s: float = 60.0) -> None:
        """Everything that was answered is done, once."""
        wait_for(self.are_complete, f"{len(self.numbers)} cases complete", within_s, of=self.made)
        self.check_once()

    def stop_within(self, seconds: float) -> None:
        """SIGTERM to each; all end in order."""
        for worker in (*self.workers, self.web):
            began = time.monotonic()
            code = worker.terminate(seconds + 10)
            assert code == 0, worker.output()[-3000:]
            assert time.monotonic() - began < seconds


def open_system(
    made: Installation, environment: Mapping[str, str] | None = None, wrap: Sequence[str] = ()
) -> System:
    """Start everything, as `start_system` does, and wait until it works."""
    system = start_system(made, environment, wrap)
    if not wait_until(system.all_ready, 60, every_s=0.1):
        outputs = "\n".join(p.output()[-2000:] for p in (system.web, *system.workers))
        raise AssertionError(f"not ready: {system.readiness()}\n{outputs}")
    return system


def start_system(
    made: Installation,
    environment: Mapping[str, str] | None = None,
    wrap: Sequence[str] = (),
    *,
    before: System | None = None,
    asking: bool = False,
) -> System:
    """Start everything. `environment` is added to the installation's; `wrap` stands before each command.

    `before` is the system that ran here before: its citizen goes on; nothing else is made.
    `asking`: the processes know where to ask one another.
    """
    extra = {**made.environment(), **(environment or {})}
    port, *health_ports = free_ports(2 + len(WORKERS), set())
    ports = {"ONESTOP_WEB__PORT": str(port), "ONESTOP_WEB__INTERNAL_PORT": str(health_ports[0])}
    if asking:
        peer = f"http://127.0.0.1:{health_ports[0]}"
        extra["ONESTOP_PEERS"] = json.dumps(dict.fromkeys(SERVICES, peer))
    web = _start(made, "web", ["web"], extra | ports, wrap)
    workers = [
        _start(
            made,
            "-".join(services),
            ["worker", *(part for service in services for part in ("--service", service))],
            extra | {"ONESTOP_WORKER__HEALTH_PORT": str(health)},
            wrap,
        )
        for services, health in zip(WORKERS, health_ports[1:], strict=True)
    ]
    if before is not None:
        return System(made, port, web, workers, health_ports, before.who, before.token, before.numbers)
    who = made.citizen()
    person = made.rows("SELECT person_ref FROM intake.persons ORDER BY created_at DESC LIMIT 1")[0]
    tokens = tokens_of(load_secret(made.settings, "intake", SESSION_KEY), lambda: datetime.now(UTC))
    signed_in = replace(citizen(person.person_ref), session=uuid4())
    return System(made, port, web, workers, health_ports, who, tokens.issue(signed_in, 3 * 3600))


def _start(
    made: Installation, name: str, command: Sequence[str], environment: Mapping[str, str], wrap: Sequence[str]
) -> Worker:
    log = made.scratch / f"{name}-{len(made.workers)}.log"
    with log.open("wb") as output:
        process = spawn(
            [*wrap, sys.executable, "-m", "deploy.cli", "run", *command],
            output=output.fileno(),
            environment=environment,
            cwd=ROOT,
        )
    started = Worker(process, log)
    made.workers.append(started)
    return started


def _answers(port: int, path: str) -> bool | str:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        return type(error).__name__
    return True if answer.status_code == 200 else answer.text
