"""A whole installation for one test: a fresh database, matters, people, and workers if it wants them.

The database is a copy of a template that was migrated once. Delivery goes inside the database or over
RabbitMQ; `Installation.settings` says which. Nothing here waits by the clock: conditions are polled, and time
passes because a test moves it.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import pika
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, Row, create_engine, text

from deploy.asks import MAY_ASK
from deploy.catalogue import publish_matters
from deploy.migrate import migrate
from deploy.postgres import PostgresServer
from deploy.processes import kill_session, spawn, wait_until
from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES, part, subscriptions
from services.approval import commands as approval
from services.approval import queries as approval_queries
from services.approval.commands import StepResult
from services.intake import commands as intake
from services.intake import queries as intake_queries
from services.intake.commands import Receipt, Submission
from services.intake.identity.persons import register_person
from services.intake.models import Case, Consent
from services.intake.rules.submission import NamedPerson
from services.materials.commands import NewCertificate, record_certificate
from shared.ask import Asker, QuestionHandler
from shared.auth.principal import Principal
from shared.bus import comparison
from shared.bus.broker import BrokerPublisher
from shared.bus.context import ServiceContext
from shared.bus.gate import gate_of, tail_of
from shared.bus.handlers import handlers_of
from shared.bus.hints import Hints
from shared.bus.inbox import Handler, Inbox
from shared.bus.jobs import JobRunner
from shared.bus.outbox import BrokerRelay, DatabaseRelay, Relay
from shared.bus.topology import PARK_QUEUE, apply_topology, broker_url, queue_name, read_queues
from shared.bus.unit import Unit, unit_of
from shared.catalogue.loader import BUILT_IN
from shared.context import build_context
from shared.db.engine import database_url
from shared.privacy.secret_files import MIGRATE
from shared.sections import DbSettings, LimitSettings, WebSettings, WorkerSettings
from shared.settings import Settings
from tests.support.principals import PROGRAM, VERIFIED, citizen, officer

Delivery = Literal["database", "rabbitmq"]

ROOT = Path(__file__).parents[2]
TEMPLATE = "onestop_template"
"""Every module that takes this fixture has a template of its own, named so."""
MATTER = "residence_permit.apply"
HELD = ("id_card", "id_photo", "social_insurance_record", "lease_record")
"""The certificates with which nothing has to be asked for."""
GAP = ("id_card", "id_photo", "social_insurance_record")
"""Without the lease record one material is missing."""
UNREACHABLE_CHANNELS = {
    "sms": {
        "endpoint": SecretStr("http://127.0.0.1:9"),
        "access_key_id": SecretStr("test"),
        "access_key_secret": SecretStr("test"),
        "sign_name": SecretStr("测试"),
    }
}
"""Texts as `settings.channels` has them."""
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


NO_LIMITS = LimitSettings(**dict.fromkeys(LimitSettings.model_fields, 10**6))
"""The few people of a test do what many do elsewhere."""


def wait_for(
    condition: Callable[[], bool], what: str, timeout_s: float = 30.0, *, of: "Installation | None" = None
) -> None:
    """Poll until the condition holds; fails with `what` after `timeout_s` seconds, and says how things stand
    in the installation `of` which it was."""
    if not wait_until(condition, timeout_s, every_s=0.05):
        pytest.fail(f"not within {timeout_s:.0f} s: {what}\n{of.report() if of else ''}")


def id_number(n: int) -> str:
    """A valid ID number (GB 11643) that belongs to nobody we know of; another one for each `n`."""
    day = date.fromordinal(date(1960, 1, 1).toordinal() + n // 999)
    body = f"330106{day:%Y%m%d}{n % 999 + 1:03d}"
    rest = sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11
    return body + "10X98765432"[rest]


class Deaf(Hints):
    """Hints that nobody hears: what runs in the test's own process is called by the test."""

    def ring(self, channel: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class Citizen:
    """Somebody who applies."""

    name: str
    id_number: str
    phone: str


@dataclass(slots=True)
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        kill_session(self.process)
        self.process.wait(10)

    def terminate(self, timeout_s: float = 40.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def lines(self, event: str) -> list[str]:
        """The log lines of one event."""
        return [line for line in self.output().splitlines() if f'"event": "{event}"' in line]

    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Installation:
    """Everything of one installation that a test may touch."""

    settings: Settings
    scratch: Path
    admin: Engine
    contexts: dict[str, ServiceContext] = field(default_factory=dict)
    answers: dict[str, dict[str, QuestionHandler]] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    publishers: list[BrokerPublisher] = field(default_factory=list)
    people: int = 0

    @property
    def broker_url(self) -> str | None:
        """The broker with the log-in of who may do everything; in a session's node, speak as anybody too."""
        return broker_url(self.settings, MIGRATE)

    def context(self, service: str) -> ServiceContext:
        """The context of a service in this process; its hints reach nobody, and it asks those of the others
        that are here too."""
        if service not in self.contexts:
            asker = Asker(self.settings, service, self.answers, MAY_ASK)
            context = build_context(self.settings, service, asker, guarded=True)
            context.hints = Deaf(context.hints.engine)
            self.contexts[service] = context
            self.answers[service] = {
                **part(service, "web").answers(context),
                **comparison.answers(context),
            }
        return self.contexts[service]

    def keep_witnesses(self) -> None:
        """Let every database have its witness, in this process and in those that are started from now on."""
        self.settings = self.settings.model_copy(update={"witness_dir": self.scratch / "witness"})
        for context in self.contexts.values():
            context.engine.dispose()
            context.hints.engine.dispose()
        self.contexts.clear()

    def set_up_channels(self, *names: str) -> None:
        """Let notify in this process plan deliveries by these channels, and by no others."""
        context = self.context("notify")
        chosen = {name: UNREACHABLE_CHANNELS[name] for name in names}
        context.settings = context.settings.model_copy(update={"channels": chosen})

    def inbox(self, service: str, handlers: Mapping[str, Handler] | None = None) -> Inbox:
        """The inbox of a service, with the commands of its worker class unless others are given."""
        return Inbox(self.context(service), handlers or handlers_of(part(service, "worker").Worker))

    def relay(self, service: str) -> Relay:
        """The relay of a service, on the transport that the settings say."""
        context = self.context(service)
        url = broker_url(self.settings, service)
        if url is None:
            return DatabaseRelay(context.engine, service)
        publisher = BrokerPublisher(url)
        self.publishers.append(publisher)
        return BrokerRelay(context.engine, service, publisher)

    def rows(self, statement: str, **values: Any) -> list[Row[Any]]:
        """What a query of the admin finds."""
        with self.admin.begin() as connection:
            return list(connection.execute(text(statement), values))

    def value(self, statement: str, **values: Any) -> Any:
        """The one value that a query of the admin finds."""
        return self.rows(statement, **values)[0][0]

    def change(self, statement: str, **values: Any) -> int:
        """How many rows a change by the admin touched."""
        with self.admin.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def make_due(
        self, service: str, states: Sequence[str] = ("retry", "not_yet", "claimed", "suspected")
    ) -> int:
        """Let every wait of a service's inbox be over, leases included unless `states` leaves them out; how
        many there were. Rows are locked in the order in which workers lock them."""
        return self.change(
            f"WITH due AS MATERIALIZED (SELECT id FROM {service}.inbox WHERE state = ANY(:states) "
            f"ORDER BY id FOR UPDATE) UPDATE {service}.inbox AS i SET due_at = due_at - interval '1 day' "
            "FROM due WHERE i.id = due.id",
            states=list(states),
        ) + (
            self.change(
                f"UPDATE {service}.messages SET due_at = due_at - interval '1 day' WHERE holder IS NOT NULL"
            )
            if "claimed" in states
            else 0
        )

    def states(self, service: str) -> dict[UUID, str]:
        """The state of each fact that lies in a service's inbox."""
        return {row.id: row.state for row in self.rows(f"SELECT id, state FROM {service}.inbox")}

    def has_handled(self, service: str, *ids: UUID) -> bool:
        """The gates of a service know all these facts, and none of them lies in its inbox any more."""
        tails = "".join(row.heard for row in self.rows(f"SELECT heard::text AS heard FROM {service}.gates"))
        return all(tail_of(one) in tails for one in ids) and not set(ids) & set(self.states(service))

    def handled(self, service: str) -> int:
        """How many facts the gates of a service have let pass."""
        rows = self.rows(f"SELECT heard FROM {service}.gates")
        return sum(heard.last for row in rows for heard in gate_of(row.heard).values())

    def unfinished(self, service: str) -> int:
        """Facts that are neither handled nor given up by people."""
        lying = self.value(f"SELECT count(*) FROM {service}.inbox WHERE state <> 'dropped'")
        coming = self.value(f"SELECT COALESCE(sum(jsonb_array_length(facts)), 0) FROM {service}.messages")
        return int(lying + coming)

    def has_heard_all(self, number: str) -> bool:
        """Every service handled all that was said to it about a case, wherever a fact lies meanwhile."""
        for service, speakers in subscriptions().items():
            rows = self.rows(f"SELECT heard FROM {service}.gates WHERE case_no = :n", n=number)
            said = {
                speaker: self.value(f"SELECT count(*) FROM {speaker}.outbox WHERE case_no = :n", n=number)
                for speaker in speakers
            }
            heard = {name: one.last for name, one in gate_of(rows[0].heard if rows else {}).items()}
            if heard != {name: count for name, count in said.items() if count}:
                return False
        return True

    def citizen(self, certificates: Sequence[str] = HELD) -> Citizen:
        """A person whom intake knows, and of whom the state holds these certificates."""
        self.people += 1
        who = Citizen(f"测试{self.people}", id_number(self.people), f"139{self.people:08d}")
        with unit_of(self.context("intake"), "test.person") as unit:
            ref = register_person(unit, NamedPerson(who.name, who.id_number, who.phone), VERIFIED)
        with unit_of(self.context("materials"), "test.certificates") as unit:
            for type_code in certificates:
                record_certificate(
                    unit,
                    NewCertificate(
                        identifier=f"test.{ref}.{type_code}",
                        type_code=type_code,
                        holder=ref,
                        issuer="公安机关",
                        trust_level="A",
                        valid_from=date(2020, 1, 1),
                        valid_until=None,
                    ),
                )
        return who

    def submit(self, who: Citizen) -> Receipt:
        """Apply for a residence permit."""
        context = self.context("intake")
        form = {
            "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
            "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
            "ground": "employment",
            "fetch_consent": True,
        }
        submission = Submission(
            matter=context.matters.latest(MATTER),
            form=form,
            uploads={},
            channel="web",
            client="test",
            locale="zh-CN",
            submitter=PROGRAM,
            another=True,
        )
        with unit_of(context, "case.submit") as unit:
            person = register_person(unit, NamedPerson(who.name, who.id_number, who.phone), VERIFIED)
            return intake.submit_case(unit, replace(submission, submitter=citizen(person)))

    def supply(self, number: str, *materials: str) -> None:
        """Supply uploads for what was asked for."""
        context = self.context("intake")
        with unit_of(context, "case.supply") as unit:
            case = intake_queries.lock_cases(unit.session, {number})[number]
            intake.supply_materials(unit, case, {code: uuid4() for code in materials})

    def withdraw(self, number: str) -> None:
        """Let the applicant take their consent back."""
        self._consent(number, intake.withdraw_consent)

    def renew(self, number: str) -> None:
        """Let the applicant agree again."""
        self._consent(number, intake.renew_consent)

    def _consent(self, number: str, command: Callable[[Unit, Case, Consent, Principal], object]) -> None:
        with unit_of(self.context("intake"), "case.consent") as unit:
            case = intake_queries.lock_cases(unit.session, {number})[number]
            consent = intake_queries.lock_consent(unit.session, number, case.applicant)
            assert consent is not None
            command(unit, case, consent, citizen(case.applicant))

    def work_task(self, number: str, outcome: StepResult = StepResult.APPROVED) -> bool:
        """Claim and end the open task of a case; True when that decided the case."""
        who = officer()
        task_id = self.value("SELECT id FROM approval.tasks WHERE case_no = :n AND state = 'open'", n=number)
        with unit_of(self.context("approval"), "task.decide") as unit:
            found = approval_queries.lock_task(unit.session, task_id)
            assert found is not None
            task, case = found
            approval.claim_task(unit, task, case, who)
            then = outcome if task.decides else StepResult.PASSED
            approval.decide_task(unit, task, case, who, then, "理由", approval.Amiss())
            return task.decides

    def decide(self, number: str, outcome: StepResult = StepResult.APPROVED) -> None:
        """Work every step of a case until it is decided."""
        while not self.work_task(number, outcome):
            continue

    def pump(self, *only: str) -> None:
        """Hand on, handle and issue in this process, inside the database, until nothing moves any more; with
        `only`, these services alone handle what they hear."""
        relays = [DatabaseRelay(self.context(service).engine, service) for service in SERVICES]
        working = only or SERVICES
        inboxes = [self.inbox(service) for service in working]
        moved = True
        with self.job_runner("materials") as issuing:
            while moved:
                moved = any([relay.run_once() > 0 for relay in relays])
                for service, inbox in zip(working, inboxes, strict=True):
                    moved = settle(self, service, inbox) > 0 or moved
                moved = issuing.run_once() > 0 or moved

    @contextmanager
    def job_runner(self, service: str) -> Iterator[JobRunner]:
        """What runs the jobs of a service in this process."""
        context = self.context(service)
        runner = JobRunner(context, part(service, "worker").Worker.jobs(context))
        try:
            yield runner
        finally:
            runner.close()

    def environment(self) -> dict[str, str]:
        """The ONESTOP_ variables of a process of this installation."""
        db = self.settings.db
        found = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "ONESTOP_ENVIRONMENT": "test",
            "ONESTOP_DB__HOST": db.host,
            "ONESTOP_DB__PORT": str(db.port),
            "ONESTOP_DB__NAME": db.name,
            "ONESTOP_SECRETS_DIR": str(self.settings.secrets_dir),
            "ONESTOP_WORKER__BATCH": str(self.settings.worker.batch),
        }
        if db.direct_host:
            found |= {
                "ONESTOP_DB__DIRECT_HOST": db.direct_host,
                "ONESTOP_DB__DIRECT_PORT": str(db.direct_port),
            }
        found |= {
            f"ONESTOP_LIMITS__{name.upper()}": str(most)
            for name, most in self.settings.limits.model_dump(exclude_unset=True).items()
        }
        if self.settings.witness_dir is not None:
            found["ONESTOP_WITNESS_DIR"] = str(self.settings.witness_dir)
        if self.settings.broker_url:
            found["ONESTOP_BROKER_URL"] = self.settings.broker_url
        return found

    def worker(self, *services: str, faults: str = "", batch: int = 100, poison: str = "none") -> Worker:
        """Start a real worker process. It dies with this one; `poison` is a fact that kills notify."""
        environment = self.environment() | {
            "ONESTOP_FAULT_PLAN": faults,
            "ONESTOP_WORKER__BATCH": str(batch),
            "ONESTOP_WORKER__PREFETCH": str(2 * batch),
        }
        log = self.scratch / f"worker-{len(self.workers)}-{'-'.join(services)}.log"
        with log.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", "tests.support.worker_main", poison, *services],
                output=output.fileno(),
                environment=environment,
                cwd=ROOT,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def report(self) -> str:
        """How things stand: facts and jobs by state, depths of queues, and how each process is, with what it
        warned of."""
        lines = []
        for service in SERVICES:
            unsent = self.value(f"SELECT count(*) FROM {service}.outbox WHERE sent_at IS NULL")
            inbox = self.rows(f"SELECT state, count(*), min(reason) FROM {service}.inbox GROUP BY state")
            jobs = self.rows(f"SELECT state, count(*), min(reason) FROM {service}.jobs GROUP BY state")
            undecodable = self.rows(
                f"SELECT 'undecodable', sum(count), min(reason) FROM {service}.undecodable_counts"
            )
            told = [", ".join(map(str, row)) for row in (*inbox, *jobs, *undecodable)]
            lines.append(f"{service}: {unsent} not handed on; {'; '.join(told)}")
        if self.broker_url:
            lines += [str(queue) for queue in read_queues(self.broker_url, SERVICES)]
        for worker in self.workers:
            if worker.process.poll() != -signal.SIGKILL:
                lines.append(f"{worker.log.name}: {worker.process.poll()}")
                lines += [
                    line[:1500] for line in worker.output().splitlines() if '"level": "debug"' not in line
                ][-15:]
        return "\n".join(lines)

    def close(self) -> None:
        """End every process and let go of every connection."""
        for worker in self.workers:
            worker.kill()
        for publisher in self.publishers:
            publisher.close()
        for context in self.contexts.values():
            context.asker.close()
            context.engine.dispose()
            context.hints.engine.dispose()
        self.admin.dispose()
        # An app that was not ended would go on trying, and say so among what other tests print.
        ringing = f"hints {self.settings.db.name}"
        wait_for(lambda: ringing not in {one.name for one in threading.enumerate()}, f"it ends: {ringing}")


def settle(installation: Installation, service: str, inbox: Inbox, rounds: int = 60) -> int:
    """Handle all that lies in an inbox; every wait is declared over, up to `rounds` times.

    The number of facts that were looked at.
    """
    looked = 0
    for _ in range(rounds):
        found = inbox.run_batch(100).count
        looked += found
        if found == 0 and installation.make_due(service) == 0:
            break
    return looked


@pytest.fixture(scope="session")
def secrets_dir(postgres: PostgresServer) -> Path:
    """The secrets of every installation on that server."""
    return postgres.secrets_dir


@pytest.fixture(scope="session")
def template_settings(postgres: PostgresServer, secrets_dir: Path) -> Settings:
    """A migrated database with the built-in matters, to be copied and never used itself."""
    settings = _settings(postgres, secrets_dir, f"{TEMPLATE}_{uuid4().hex[:8]}", None)
    postgres.psql(f"CREATE DATABASE {settings.db.name}")
    migrate(settings)
    publish_matters(settings, sorted(BUILT_IN.glob("*.yaml")))
    return settings


@pytest.fixture(params=["database", "rabbitmq"])
def delivery(request: pytest.FixtureRequest) -> Delivery:
    """Both ways of delivery."""
    found: Delivery = request.param
    return found


@pytest.fixture
def installation(
    delivery: Delivery,
    postgres: PostgresServer,
    template_settings: Settings,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Installation]:
    """A fresh installation on one way of delivery."""
    node: RabbitNode | None = request.getfixturevalue("rabbitmq") if delivery == "rabbitmq" else None
    with make_installation(postgres, template_settings, tmp_path, node.url if node else None) as made:
        yield made


@pytest.fixture
def db_installation(
    postgres: PostgresServer, template_settings: Settings, tmp_path: Path
) -> Iterator[Installation]:
    """A fresh installation with delivery inside the database, for what no delivery changes."""
    with make_installation(postgres, template_settings, tmp_path, None) as made:
        yield made


@contextmanager
def make_installation(
    postgres: PostgresServer,
    template: Settings,
    scratch: Path,
    broker: str | None,
    *,
    tablespace: str = "pg_default",
) -> Iterator[Installation]:
    """A copy of the template database, and with a broker empty queues."""
    name = f"onestop_{uuid4().hex[:12]}"
    settings = _settings(postgres, template.secrets_dir, name, broker)
    admin = create_engine(database_url(settings, settings.db.admin_user), pool_size=2)
    made = Installation(settings, scratch, admin)
    postgres.psql(f"CREATE DATABASE {name} TEMPLATE {template.db.name} TABLESPACE {tablespace}")
    # No test here pulls the plug of the server; those that do make their own.
    postgres.psql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        if made.broker_url:
            empty_broker(made.broker_url)
        yield made
    finally:
        made.close()
        postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")


def empty_broker(url: str) -> None:
    """Queues as a new installation has them."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        for queue in (*(queue_name(service) for service in SERVICES), PARK_QUEUE):
            channel.queue_delete(queue)
    finally:
        connection.close()
    apply_topology(url, SERVICES, subscriptions())


def _settings(postgres: PostgresServer, secrets_dir: Path, name: str, broker: str | None) -> Settings:
    return Settings(
        environment="test",
        db=DbSettings(host=postgres.host, port=postgres.port, name=name),
        broker_url=broker,
        secrets_dir=secrets_dir,
        clock_offset_allowed=True,
        web=WebSettings(hosts=("127.0.0.1", "localhost", "testserver", "hall.test")),
        worker=WorkerSettings(batch=100),
        limits=NO_LIMITS,
        log_level="WARNING",
    )
