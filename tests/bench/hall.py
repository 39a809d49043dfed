"""The whole hall as people meet it: web processes, all workers, an SMS gateway; and who comes.

`Hall.send` lets the generator, a process of its own on the same cores, send what was prepared.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import psutil

from deploy.installation import free_ports
from deploy.processes import wait_until
from deploy.services import SERVICES
from deploy.standins.launch import SmsStandin
from services.intake.identity.persons import register_person
from shared.bus.unit import unit_of
from shared.context import build_context
from shared.privacy.secret_files import SESSION_KEY, load_secret
from shared.sections import LimitSettings
from shared.settings import Settings
from tests.bench import generator
from tests.bench.contenders import Onestop, Worker, answers
from tests.bench.generator import KEY, Plan, Request, Sent, prepared, read_sent
from tests.bench.seed import MATTER, form_of, person
from tests.bench.servers import PEOPLE, Place, Servers
from tests.support.log_ins import tokens_of
from tests.support.principals import VERIFIED, citizen

NOTICES = 4
"""Of a case that nothing is missing from: received and accepted, in the application and as a text message."""
CONNECTIONS = 2000
"""Of one network: all clients of the bench come from one."""
_LOG_IN_S = 4 * 3600
_DRAIN_S = 120.0


@dataclass(slots=True)
class Hall:
    """An installation that people apply to. `processes` by name, `ports` of the web processes."""

    place: Place
    sms: SmsStandin
    ports: list[int]
    processes: dict[str, Popen[bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    """Applications, one of each person."""
    _plans: Iterator[int] = field(default_factory=count)

    def send(
        self,
        seconds: float,
        *,
        rate: float | None = None,
        clients: int | None = None,
        requests: Sequence[Request] = (),
    ) -> list[Sent]:
        """Send for so long and wait for the last answer: applications, unless others are given."""
        return self.answered(self.begin(seconds, rate=rate, clients=clients, requests=requests))

    def begin(
        self,
        seconds: float,
        *,
        rate: float | None = None,
        clients: int | None = None,
        requests: Sequence[Request] = (),
    ) -> "Sending":
        """The same without waiting."""
        stem = self.place.servers.folder / f"{self.place.database}_{next(self._plans)}"
        plan, out = stem.with_suffix(".plan"), stem.with_suffix(".sent")
        Plan(self.ports, list(requests or self.requests), seconds, rate, clients).write(plan)
        child = self.place.start(["-m", generator.__name__, str(plan), str(out)])
        self.processes["generator"] = child
        return Sending(child, out, seconds)

    def answered(self, sending: "Sending") -> list[Sent]:
        """What became of it."""
        code = sending.child.wait(sending.seconds + 120)
        self.place.forget(sending.child)
        del self.processes["generator"]
        if code != 0:
            raise RuntimeError(f"the generator ended with {code}: {self.place.last_words()}")
        return read_sent(sending.out)

    def give_up(self, sending: "Sending") -> None:
        """Send no more of it."""
        sending.child.kill()
        sending.child.wait()
        self.place.forget(sending.child)
        del self.processes["generator"]

    def told(self) -> int:
        """Cases of which all notices are sent, as far as one can count without asking for each."""
        found = self.place.ask("SELECT count(*) FROM notify.deliveries WHERE state = 'sent'")
        return int(found[0]) // NOTICES

    def cases(self) -> int:
        """Cases that were taken."""
        return int(self.place.ask("SELECT count(*) FROM intake.cases")[0])

    def drain(self, leaving: int = 0) -> None:
        """Wait until every case that was taken is told of, but for so many."""
        if not wait_until(lambda: self.told() + leaving >= self.cases(), _DRAIN_S, every_s=0.2):
            raise RuntimeError(f"{self.told()} of {self.cases()} cases are told after {_DRAIN_S:.0f} s")

    def told_at(self) -> dict[str, float]:
        """Of each case with all its notices sent: when the last was, in seconds since the epoch."""
        found = self.place.rows(
            "SELECT case_no, extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float "
            "FROM notify.deliveries WHERE state = 'sent' GROUP BY case_no HAVING count(*) >= :notices",
            notices=NOTICES,
        )
        return {row[0]: row[1] for row in found}

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time so far, of our processes and of both servers with all their children."""
        servers = self.place.servers
        trees = {name: child.pid for name, child in self.processes.items()}
        trees |= {"broker": servers.rabbitmq.pid or 0, "postgres": servers.postgres.pid or 0}
        return {name: _cpu_of_tree(pid) for name, pid in trees.items() if pid}


@dataclass(frozen=True, slots=True)
class Sending:
    """A generator at work."""

    child: Popen[bytes]
    out: Path
    seconds: float


@contextmanager
def hall(servers: Servers, name: str, *, people: int, webs: int = 1, workers: int = 1) -> Iterator[Hall]:
    """Everything started and ready: `webs` web processes, `workers` of each service."""
    with servers.place(name, template=PEOPLE) as place:
        sms = SmsStandin(servers.folder / f"{place.database}_sms")
        sms.start()
        try:
            opened = _open(place, sms, webs, workers)
            opened.requests = applications(place.settings, people)
            yield opened
        finally:
            place.stop()
            sms.stop()


def _open(place: Place, sms: SmsStandin, webs: int, workers: int) -> Hall:
    onestop = Onestop()
    onestop.prepare(place)
    ports = free_ports(2 * webs, set())
    public, internal = ports[:webs], ports[webs:]
    more = {
        "ONESTOP_PEERS": json.dumps(dict.fromkeys(SERVICES, f"http://127.0.0.1:{internal[0]}")),
        "ONESTOP_WEB__CONNECTIONS_PER_NETWORK": str(CONNECTIONS),
        **{f"ONESTOP_LIMITS__{limit.upper()}": "1000000" for limit in LimitSettings.model_fields},
    }
    started: dict[str, Worker] = {}
    for n, (port, inner) in enumerate(zip(public, internal, strict=True), start=1):
        own = {"ONESTOP_WEB__PORT": str(port), "ONESTOP_WEB__INTERNAL_PORT": str(inner)}
        web = place.start(["-m", "deploy.cli", "run", "web"], more | own)
        started[f"web.{n}" if webs > 1 else "web"] = Worker(web, partial(answers, inner))
    for service in SERVICES:
        sends = sms.environment() if service == "notify" else {}
        for n in range(1, workers + 1):
            name = f"worker.{service}.{n}" if workers > 1 else f"worker.{service}"
            started[name] = onestop.start_worker(place, service, more | sends)
    place.await_ready([one.ready for one in started.values()])
    return Hall(place, sms, public, {name: one.process for name, one in started.items()})


def applications(settings: Settings, people: int) -> list[Request]:
    """A request of each person under their own log-in."""
    context = build_context(settings, "intake")
    tokens = tokens_of(load_secret(settings, "intake", SESSION_KEY), lambda: datetime.now(UTC))
    with unit_of(context, "bench.people") as unit:
        refs = [register_person(unit, person(n), VERIFIED) for n in range(people)]
    context.engine.dispose()
    context.hints.close()
    context.hints.engine.dispose()
    found = []
    for n, ref in enumerate(refs):
        token = tokens.issue(replace(citizen(ref), session=uuid4()), _LOG_IN_S)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": KEY}
        body = {"matter": MATTER, "form": form_of(person(n)), "another": True}
        found.append(prepared("submit", "POST", "/api/v1/cases", headers, body))
    return found


def _cpu_of_tree(pid: int) -> float:
    """Of a process, those below it, and those below it that have ended."""
    root = psutil.Process(pid)
    used = root.cpu_times()
    total = used.user + used.system + used.children_user + used.children_system
    for child in root.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += own.user + own.system
    return float(total)
