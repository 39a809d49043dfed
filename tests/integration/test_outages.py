"""The broker or the database is away for some seconds while people go on: nobody waits, nothing is lost."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.postgres import PostgresServer
from deploy.probe import is_ready
from deploy.processes import free_port, spawn, wait_until
from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES
from shared.auth.principal import Principal, PrincipalKind
from shared.auth.tokens import Tokens
from shared.privacy.secret_files import SESSION_KEY, load_secret
from shared.settings import Settings
from tests.support.installation import (
    MATTER,
    ROOT,
    Citizen,
    Installation,
    Worker,
    make_installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.servers import scratch_folder

__all__ = ["secrets_dir", "template_settings"]

pytestmark = pytest.mark.slow

# `make drill` has the outages at their full length.
BROKER_AWAY_S, DATABASE_AWAY_S = (60.0, 20.0) if os.environ.get("ONESTOP_WALK") == "all" else (8.0, 5.0)
ANSWER_S = 1.0
STOP_S = 30.0


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of our own: the other tests keep theirs."""
    with scratch_folder() as folder:
        server = PostgresServer(folder / "data", tcp_port=free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitNode]:
    """A broker of our own."""
    with scratch_folder() as folder:
        made = RabbitNode(folder / "rabbitmq")
        made.start()
        try:
            yield made
        finally:
            made.stop()


@dataclass(slots=True)
class System:
    """An installation with all its processes, and somebody who applies over HTTP."""

    made: Installation
    port: int
    web: Worker
    workers: list[Worker]
    who: Citizen
    token: str
    slowest_s: float = 0.0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10, trust_env=False))

    def apply(self, key: str) -> httpx.Response:
        """One application under this key; how long the answer took is kept."""
        began = time.monotonic()
        try:
            return self.client.post(
                f"http://127.0.0.1:{self.port}/api/v1/cases",
                json={"matter": MATTER, "form": form_of(self.who)},
                headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": key},
            )
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def pids(self) -> list[int]:
        """The processes that are alive."""
        return [p.pid for p in (self.web, *self.workers) if p.process.poll() is None]

    def are_complete(self, numbers: set[str]) -> bool:
        """Every case is under review, with both notices, and nothing is under way."""
        rows = self.made.rows("SELECT number, state FROM intake.cases")
        states = {row.number: row.state for row in rows}
        if any(states.get(number) != "under_review" for number in numbers):
            return False
        left = " + ".join(
            f"(SELECT count(*) FROM {s}.outbox WHERE sent_at IS NULL)"
            f" + (SELECT count(*) FROM {s}.inbox) + (SELECT count(*) FROM {s}.messages)"
            for s in SERVICES
        )
        return self.made.value(f"SELECT {left}") == 0 and all(map(self.made.has_heard_all, numbers))

    def check_once(self, numbers: set[str]) -> None:
        """Exactly these cases, each with one task and two notices, nothing parked."""
        assert {row.number for row in self.made.rows("SELECT number FROM intake.cases")} == numbers
        tasks = self.made.rows("SELECT case_no, count(*) FROM approval.tasks GROUP BY case_no")
        assert {tuple(row) for row in tasks} == {(number, 1) for number in numbers}
        told = self.made.rows("SELECT case_no, count(*) FROM notify.inbox_messages GROUP BY case_no")
        assert {tuple(row) for row in told} == {(number, 2) for number in numbers}
        for service in SERVICES:
            assert self.made.value(f"SELECT count(*) FROM {service}.undecodable") == 0


def form_of(who: Citizen) -> dict[str, Any]:
    return {
        "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
        "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
        "ground": "employment",
        "fetch_consent": True,
    }


def open_system(made: Installation) -> System:
    """Start everything and wait until it works."""
    port = free_port()
    log = made.scratch / "web.log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "-m", "deploy.cli", "run", "web"],
            output=output.fileno(),
            environment=made.environment() | {"ONESTOP_WEB__PORT": str(port)},
            cwd=ROOT,
        )
    web = Worker(process, log)
    made.workers.append(web)
    # One process for two services each: as many as two cores start quickly.
    workers = [made.worker("intake", "materials"), made.worker("approval", "notify")]
    who = made.citizen()
    [person] = made.rows("SELECT person_ref FROM intake.persons")
    tokens = Tokens(load_secret(made.settings, "intake", SESSION_KEY), lambda: datetime.now(UTC))
    citizen = Principal(PrincipalKind.CITIZEN, "citizen-1", person.person_ref)
    system = System(made, port, web, workers, who, tokens.issue(citizen, 3600))
    wait_for(lambda: answers(port), f"the web process; see {log}", 60)
    for worker in workers:
        wait_for(partial(has_started, worker), f"a worker; see {worker.log}", 60)
    return system


def answers(port: int) -> bool:
    try:
        return is_ready(port)
    except OSError:
        return False


def has_started(worker: Worker) -> bool:
    return "worker_started" in worker.output()


def keep_what_is_answered(postgres: PostgresServer, made: Installation) -> None:
    """Here the plug is pulled: a commit must be on disk. For sessions to come, so before anything starts."""
    postgres.psql(f"ALTER DATABASE {made.settings.db.name} RESET synchronous_commit")


@pytest.fixture
def brokered(
    postgres: PostgresServer, template_settings: Settings, node: RabbitNode, tmp_path: Path
) -> Iterator[System]:
    """Delivery over the broker."""
    with make_installation(postgres, template_settings, tmp_path, node.url) as made:
        keep_what_is_answered(postgres, made)
        system = open_system(made)
        yield system
        system.client.close()


@pytest.fixture
def brokerless(postgres: PostgresServer, template_settings: Settings, tmp_path: Path) -> Iterator[System]:
    """Delivery inside the database."""
    with make_installation(postgres, template_settings, tmp_path, None) as made:
        keep_what_is_answered(postgres, made)
        system = open_system(made)
        yield system
        system.client.close()


def test_people_do_not_notice_that_the_broker_is_away(brokered: System, node: RabbitNode) -> None:
    system, numbers, pids = brokered, set[str](), brokered.pids()

    def one_more() -> bool:
        answer = system.apply(str(uuid4()))
        assert answer.status_code == 201, answer.text
        numbers.add(answer.json()["number"])
        return False

    one_more()
    node.kill()
    system.slowest_s = 0.0
    wait_until(one_more, BROKER_AWAY_S, every_s=0.2)
    assert len(numbers) > BROKER_AWAY_S, "too few applications to say anything"
    assert system.slowest_s < ANSWER_S
    node.start()

    wait_for(lambda: system.are_complete(numbers), f"{len(numbers)} cases complete", 60, of=system.made)
    system.check_once(numbers)
    assert system.pids() == pids, "a process died of the outage"


def test_the_database_is_away(brokerless: System, postgres: PostgresServer) -> None:
    check_database_outage(brokerless, postgres)


def test_the_database_is_away_with_a_broker(brokered: System, postgres: PostgresServer) -> None:
    check_database_outage(brokered, postgres)


def check_database_outage(system: System, postgres: PostgresServer) -> None:
    before, during, pids = str(uuid4()), [str(uuid4()) for _ in range(5)], system.pids()
    first = system.apply(before)
    assert first.status_code == 201, first.text
    numbers = {first.json()["number"]}

    postgres.kill()
    system.slowest_s = 0.0
    refused: list[httpx.Response] = []

    def knock() -> bool:
        refused.append(system.apply(during[len(refused) % len(during)]))
        return False

    wait_until(knock, DATABASE_AWAY_S, every_s=0.1)
    slowest_s = system.slowest_s
    # Pooled connections of this very process died with the server as well.
    system.made.admin.dispose()
    postgres.start()

    assert {answer.status_code for answer in refused} == {503}
    for answer in refused:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1
    assert slowest_s < ANSWER_S
    assert system.pids() == pids, "a process died of the outage"
    for key in [before, *during, *during]:
        answer = until_taken(system, key)
        numbers.add(answer.json()["number"])
    assert len(numbers) == 1 + len(during)

    wait_for(lambda: system.are_complete(numbers), f"{len(numbers)} cases complete", 60, of=system.made)
    system.check_once(numbers)
    assert system.pids() == pids, "a process died after the outage"


def until_taken(system: System, key: str) -> httpx.Response:
    """The same request until it is taken."""
    found: list[httpx.Response] = []

    def taken() -> bool:
        found.append(system.apply(key))
        return found[-1].status_code == 201

    wait_for(taken, "an application is taken", 20)
    return found[-1]


def stop_within(system: System) -> None:
    for worker in (*system.workers, system.web):
        began = time.monotonic()
        code = worker.terminate(STOP_S + 10)
        assert code == 0, worker.output()[-3000:]
        assert time.monotonic() - began < STOP_S


def test_sigterm_ends_in_order(brokered: System) -> None:
    number = brokered.apply(str(uuid4())).json()["number"]
    stop_within(brokered)
    brokered.workers = [brokered.made.worker(service) for service in SERVICES]
    wait_for(lambda: brokered.are_complete({number}), "the case complete", 60, of=brokered.made)
    brokered.check_once({number})


def test_sigterm_during_a_broker_outage_ends_in_order(brokered: System, node: RabbitNode) -> None:
    node.kill()
    try:
        numbers = {brokered.apply(str(uuid4())).json()["number"] for _ in range(3)}
        stop_within(brokered)
    finally:
        node.start()
    brokered.workers = [brokered.made.worker(service) for service in SERVICES]
    wait_for(lambda: brokered.are_complete(numbers), "the cases complete", 60, of=brokered.made)
    brokered.check_once(numbers)


def test_sigterm_during_a_database_outage_ends_in_order(brokerless: System, postgres: PostgresServer) -> None:
    postgres.kill()
    try:
        stop_within(brokerless)
    finally:
        brokerless.made.admin.dispose()
        postgres.start()
