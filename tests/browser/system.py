"""An installation with its web process and one worker, and what its people do outside of the browser."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from deploy.installation import free_ports
from deploy.postgres import PostgresServer
from deploy.probe import is_ready
from deploy.processes import spawn
from deploy.services import SERVICES
from shared.settings import Settings
from tests.support.contacts import can_send_codes
from tests.support.installation import (
    HELD,
    MATTER,
    ROOT,
    Citizen,
    Installation,
    Worker,
    make_installation,
    wait_for,
)
from tests.support.servers import scratch_folder

A_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"
DEPARTMENTS = ("xihu-community", "xihu-police")


@dataclass(frozen=True, slots=True)
class Case:
    """A submitted case, its code as the receipt prints it, and who is behind it."""

    number: str
    query_code: str
    who: Citizen


@dataclass(slots=True)
class System:
    """Delivery inside the database, development log-in on."""

    made: Installation
    origin: str
    worker: Worker
    client: httpx.Client

    def citizen(self, certificates: tuple[str, ...] = HELD) -> Citizen:
        """Somebody of whom the state holds these certificates."""
        return self.made.citizen(certificates)

    def apply(self, who: Citizen, agent: Citizen | None = None) -> Case:
        """Apply for a residence permit through the API, or let somebody apply for an old person."""
        form: dict[str, Any] = {
            "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
            "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
            "ground": "employment",
            "fetch_consent": True,
        }
        if agent is not None:
            acts = {"name": agent.name, "id_number": agent.id_number, "phone": agent.phone}
            form["agent"] = {**acts, "relation": "child", "ground": "elderly"}
        sender = self.session(agent or who)
        headers = {"Authorization": f"Bearer {sender}", "Idempotency-Key": str(uuid4())}
        receipt = self._posted("/api/v1/cases", {"matter": MATTER, "form": form, "another": True}, headers)
        return Case(receipt["number"], receipt["query_code"], who)

    def session(self, who: Citizen) -> str:
        """What the cookie of this citizen holds after the development log-in."""
        body = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
        return str(self._posted("/dev/tokens/citizen", body, {})["token"])

    def officer_session(self, subject: str, *supervises: str) -> str:
        """What the cookie of this officer holds after the development log-in."""
        name = f"{subject.removeprefix('officer-')}号工作人员"
        departments = list(DEPARTMENTS)
        body = {"subject": subject, "name": name, "departments": departments, "supervises": supervises}
        return str(self._posted("/dev/tokens/officer", body, {})["token"])

    def operator_session(self, subject: str, serves: Citizen) -> str:
        """What the cookie of this operator of the counter holds while they serve somebody."""
        person = {"name": serves.name, "id_number": serves.id_number, "phone": serves.phone}
        body = {"subject": subject, "channels": ["counter"], "acting_for": person}
        return str(self._posted("/dev/tokens/operator", body, {})["token"])

    def withdraw(self, case: Case) -> None:
        """Let the applicant take their consent back."""
        headers = {"Authorization": f"Bearer {self.session(case.who)}", "Idempotency-Key": str(uuid4())}
        self._posted(f"/api/v1/cases/{case.number}/consent/withdrawal", {}, headers)

    def claim(self, subject: str, task: str) -> None:
        """Let an officer take a task."""
        headers = {"Authorization": f"Bearer {self.officer_session(subject)}"}
        self._posted(f"/api/v1/tasks/{task}/claim", {}, headers)

    def _posted(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        answer = self.client.post(self.origin + path, json=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def state_of(self, number: str) -> str:
        """Where intake sees the case."""
        return str(self.made.value("SELECT state FROM intake.cases WHERE number = :n", n=number))

    def until(self, number: str, state: str) -> None:
        """Wait until the case is in this state and everybody who must know has been told."""
        wait_for(lambda: self.state_of(number) == state, f"{number} {state}", of=self.made)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        left = " + ".join(
            f"(SELECT count(*) FROM {s}.outbox WHERE sent_at IS NULL)"
            f" + (SELECT count(*) FROM {s}.inbox) + (SELECT count(*) FROM {s}.messages)"
            for s in SERVICES
        )
        wait_for(lambda: self.made.value(f"SELECT {left}") == 0, "nothing under way", of=self.made)

    def task_of(self, number: str) -> str:
        """The id of the newest task of a case."""
        found = "SELECT id FROM approval.tasks WHERE case_no = :n ORDER BY created_at DESC LIMIT 1"
        return str(self.made.value(found, n=number))

    @contextmanager
    def nobody_works(self) -> Iterator[None]:
        """Stop the worker where it stands, so that what citizens see for a second stays."""
        self.settle()
        os.kill(self.worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.worker.pid, signal.SIGCONT)


@contextmanager
def open_system(postgres: PostgresServer, template: Settings) -> Iterator[System]:
    """Start everything and wait until it works."""
    port, internal_port = free_ports(2, set())
    extra = {
        "ONESTOP_DEV_IDENTITY": "true",
        "ONESTOP_IDENTITY__ONE_TIME_CODE__KINDS": "phone,email",
        "ONESTOP_WEB__COOKIE_SECURE": "false",
        "ONESTOP_WEB__PORT": str(port),
        "ONESTOP_WEB__INTERNAL_PORT": str(internal_port),
    }
    with scratch_folder() as scratch, make_installation(postgres, template, scratch, None) as made:
        log = scratch / "web.log"
        with log.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", "deploy.cli", "run", "web"],
                output=output.fileno(),
                environment=made.environment() | extra,
                cwd=ROOT,
            )
        made.workers.append(Worker(process, log))
        can_send_codes(made, "phone", "email")
        # No channel is set up, so that nothing is sent, and the worker would say so.
        made.change("CREATE RULE stays AS ON DELETE TO notify.code_channels DO INSTEAD NOTHING")
        worker = made.worker(*SERVICES)
        wait_for(lambda: _answers(internal_port), "the web process", 60, of=made)
        wait_for(lambda: "worker_started" in worker.output(), "the worker", 60, of=made)
        with httpx.Client(timeout=10, trust_env=False) as client:
            yield System(made, f"http://127.0.0.1:{port}", worker, client)


def _answers(port: int) -> bool:
    try:
        return is_ready(port)
    except OSError:
        return False
