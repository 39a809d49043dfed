"""What a citizen and an officer tell us is found nowhere but where it is sealed.

One canary takes each way of delivery: name, ID number, phone, e-mail address, address, a file, reasons in
free text, a contact that is verified, a form that outlives its session, the query code of a receipt, a
one-time code and the code that stops notices, over HTTP, with real processes, SMS and e-mail, in what
succeeds and in what is refused, fails or is parked. Then all that these processes left behind is searched, to
the last byte.
"""

import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pika
import pytest
from psycopg2.extensions import adapt

from deploy.installation import free_ports
from deploy.postgres import PostgresServer
from deploy.probe import is_ready
from deploy.processes import free_port, spawn
from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES
from deploy.standins.launch import MailStandin, SmsStandin
from services.materials.commands import NewCertificate, record_certificate
from shared.bus.topology import EXCHANGE, user_name
from shared.bus.unit import unit_of
from shared.events.ids import new_id
from shared.settings import Settings
from tests.support.canary import STRAY, TOLD, Canary, found, traces, written, written_code
from tests.support.installation import (
    GAP,
    MATTER,
    ROOT,
    Installation,
    Worker,
    make_installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.servers import scratch_folder

__all__ = ["secrets_dir", "template_settings"]

pytestmark = [pytest.mark.slow, pytest.mark.broker]

SPY = "onestop.test.spy"
DEPARTMENTS = ["xihu-community", "xihu-police"]


@dataclass
class Aftermath:
    """What one system has left behind."""

    told: dict[str, str]
    codes: dict[str, bytes]
    """The one-time code and the stop code, in every shape. Whoever sends them for us has both."""
    stray: dict[str, str]
    number: str
    lost: str
    logs: dict[str, bytes]
    rows: dict[str, bytes]
    reasons: dict[str, bytes]
    facts: dict[str, bytes]
    metrics: dict[str, bytes]
    addresses: dict[str, bytes]
    refusals: dict[str, bytes]
    database: Path
    broker: Path | None


@dataclass
class System:
    """One installation with its processes, and what came out of its doors."""

    made: Installation
    canary: Canary
    stray: Canary
    client: httpx.Client
    sms: SmsStandin
    mail: MailStandin
    addresses: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, expect: int, **options: Any) -> httpx.Response:
        """One request. Where the answer leads to is kept."""
        answer = self.client.request(method, path, **options)
        assert answer.status_code == expect, f"{method} {answer.request.url.path}: {answer.text}"
        self.addresses += [f"{name}: {value}" for name, value in answer.headers.items()]
        self.addresses += re.findall(r'\b(?:href|action|src|formaction)="[^"]*"', answer.text)
        return answer

    def refused(self, method: str, path: str, expect: int, **options: Any) -> None:
        """One request that is not taken; what programs are told is kept, pages may name who looks at them."""
        answer = self.ask(method, path, expect, **options)
        if answer.headers["content-type"] == "application/problem+json":
            self.refusals.append(answer.text)

    def log_in(self, kind: str, body: dict[str, Any]) -> dict[str, str]:
        """Headers of somebody."""
        token = self.ask("POST", f"/dev/tokens/{kind}", 200, json=body).json()["token"]
        return {"Authorization": f"Bearer {token}"}

    def until(self, number: str, state: str) -> None:
        """Wait until the citizen would see this."""
        wait_for(
            lambda: self.made.value("SELECT state FROM intake.cases WHERE number = :n", n=number) == state,
            f"{number} {state}",
            of=self.made,
        )


def keyed(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Idempotency-Key": str(uuid4())}


def cookie(headers: Mapping[str, str]) -> dict[str, str]:
    """The same log-in as a browser has it."""
    return {"Cookie": f"onestop_session={headers['Authorization'].removeprefix('Bearer ')}"}


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))


def application(who: Canary, **changed: Any) -> dict[str, Any]:
    form = {
        "applicant": {
            "name": who.name,
            "id_number": who.id_number,
            "phone": who.phone,
            "email": who.email,
        },
        "residence": {"address": who.address, "kind": "rented", "since": "2024-03-01"},
        "ground": "employment",
        "fetch_consent": True,
        **changed,
    }
    return {"matter": MATTER, "form": form, "another": True}


@dataclass
class Lived:
    """What came of it: number and query code of the case, the codes that were sent, and the number of a case
    that stuck."""

    number: str
    query_code: str
    one_time_code: str
    stop_code: str
    lost: str


def live_through(system: System) -> Lived:
    """Everything that people do."""
    who = system.canary
    body = {"name": who.name, "id_number": who.id_number, "phone": who.phone, "email": who.email}
    citizen = system.log_in("citizen", body)
    officer = system.log_in("officer", {"subject": "officer-1", "departments": DEPARTMENTS})
    let_the_state_hold(system, GAP)
    be_refused(system, citizen)
    case = system.ask("POST", "/api/v1/cases", 201, headers=keyed(citizen), json=application(who)).json()
    number = case["number"]
    system.until(number, "correction_required")
    supply(system, citizen, number)
    system.until(number, "under_review")
    decide(system, officer, number)
    system.until(number, "denied")
    look_again(system, citizen, case)
    code = verify_a_contact(system, citizen)
    stop = be_told_unasked(system, citizen)
    lost = let_a_fact_fail(system, citizen)
    return Lived(number, case["query_code"], code, stop, lost)


def let_the_state_hold(system: System, certificates: Iterable[str]) -> None:
    """The certificates of the one person whom intake knows."""
    ref: UUID = system.made.value("SELECT person_ref FROM intake.persons")
    with unit_of(system.made.context("materials"), "test.certificates") as unit:
        for code in certificates:
            new = NewCertificate(f"test.{ref}.{code}", code, ref, "公安机关", "A", date(2020, 1, 1), None)
            record_certificate(unit, new)


def be_refused(system: System, citizen: dict[str, str]) -> None:
    """Everything in the wrong place."""
    who = system.canary
    name, number, phone, address = who.name, who.id_number, who.phone, who.address
    person = {"name": name, "id_number": number, "phone": phone}
    for wrong in (
        application(who, applicant={"name": number * 4, "id_number": name, "phone": address}),
        application(
            who, applicant={**person, "id_number": number[:17] + ("0" if number[17] != "0" else "1")}
        ),
        application(who, residence={"address": [address], "kind": name, "since": phone}),
        application(who, ground=address, fetch_consent=name),
        application(who, applicant={**person, "email": f"{who.email}\r\nBcc: {who.email}"}),
        application(who, applicant={**person, "email": f"{name} <{who.email}>"}),
        {**application(who), "channel": name},
        {**application(who), "client": f"{name} {phone}"},
        {**application(who), "locale": name},
        {**application(who), "version": phone + name},
        {**application(who), "uploads": {"lease_contract": name}},
    ):
        system.refused("POST", "/api/v1/cases", 422, headers=keyed(citizen), json=wrong)
    for wrong in (
        # The sender's own keys come back as pointers to what is wrong, so these answers are not kept.
        application(who, **{name: number}),
        {**application(who), address: phone},
        {**application(who), "uploads": {name: str(uuid4())}},
    ):
        system.ask("POST", "/api/v1/cases", 422, headers=keyed(citizen), json=wrong)
    system.refused("POST", "/api/v1/cases", 404, headers=keyed(citizen), json={"matter": name, "form": {}})
    half = json.dumps(application(who), ensure_ascii=False)[:-1].encode()
    as_json = {**keyed(citizen), "Content-Type": "application/json"}
    system.refused("POST", "/api/v1/cases", 400, headers=as_json, content=half)
    for path in (
        f"/api/v1/cases/{number}",
        f"/api/v1/cases/{name}",
        f"/cases/{address}",
        f"/{name}?q={phone}",
    ):
        system.refused("GET", path, 404, headers=citizen)
        system.refused("GET", path, 404, headers={**cookie(citizen), "Accept": "text/html"})
    for path in (f"/cases/{number}?name={name}", "/cases"):
        system.refused("GET", path, 401, headers={"Accept": "text/html"})
    lookup = {"number": name, "query_code": number}
    system.refused("POST", "/api/v1/cases/lookup", 404, json=lookup)
    # A page shows again what was typed into it.
    system.ask("POST", "/lookup", 404, data=lookup)
    system.refused("GET", f"/api/v1/tasks/{name}", 403, headers=citizen)
    named = {
        "Accept-Language": phone,
        "User-Agent": number,
        "Referer": f"http://x/?{phone}",
        "traceparent": number,
    }
    system.refused("GET", "/api/v1/cases", 401, headers={**named, "Authorization": f"Bearer {number}"})
    picture = {"file": (f"{name}.gif", f"GIF89a {number}".encode(), f"image/{phone}")}
    system.refused("POST", "/api/v1/uploads", 422, headers=keyed(citizen), files=picture)
    system.refused("POST", "/dev/tokens/citizen", 422, json={"name": number * 4, "id_number": phone})


def supply(system: System, citizen: dict[str, str], number: str) -> None:
    """Through the page, first a file that nobody takes."""
    who = system.canary
    page = system.ask("GET", f"/cases/{number}", 200, headers=cookie(citizen))
    [asked] = re.findall(r'type="file" id="file-([a-z_]+)"', page.text)
    about = " ".join(who.values().values()).encode()
    pdf = (
        b"%PDF-1.4\n% "
        + about
        + b"\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"
    )
    for content, expect in ((b"no PDF: " + about, 422), (pdf, 303)):
        sent = {**hidden(page), f"as.{asked}": "lease_contract"}
        files = {f"file.{asked}": (who.file_name, content, "application/pdf")}
        system.ask("POST", f"/cases/{number}/supply", expect, headers=cookie(citizen), data=sent, files=files)


def decide(system: System, officer: dict[str, str], number: str) -> None:
    """The first step over the API, the second one on the page; somebody is refused in between."""
    who = system.canary
    for last in (False, True):
        [task] = system.ask("GET", "/api/v1/tasks", 200, headers=officer).json()["tasks"]
        path = f"/api/v1/tasks/{task['id']}"
        etag = system.ask("POST", f"{path}/claim", 200, headers=officer).headers["etag"]
        if not last:
            etag = hand_back(system, officer, path, etag)
        said = {"outcome": "denied" if last else "passed", "reason": who.reason}
        system.refused("POST", f"{path}/decision", 412, headers={**officer, "If-Match": '"99"'}, json=said)
        wrong = {"outcome": who.name, "reason": who.reason * 300}
        system.refused("POST", f"{path}/decision", 422, headers={**officer, "If-Match": etag}, json=wrong)
        if not last:
            system.ask("POST", f"{path}/decision", 200, headers={**officer, "If-Match": etag}, json=said)
            wait_for(
                lambda: len(system.made.rows("SELECT 1 FROM approval.tasks")) == 2,
                "the last step",
                of=system.made,
            )
    system.ask("GET", "/desk", 200, headers=cookie(officer))
    page = system.ask("GET", f"/desk/tasks/{task['id']}", 200, headers=cookie(officer))
    assert all(value in page.text for value in (who.name, who.id_number, who.address)), "nothing was told"
    [upload] = re.findall(r'href="(/desk/tasks/[^"]*/uploads/[^"]*)"', page.text)
    assert who.address.encode() in system.ask("GET", upload, 200, headers=cookie(officer)).content
    form = {**hidden(page), **said}
    path = f"/desk/tasks/{task['id']}/decision"
    outlive_a_session(system, officer, f"/desk/tasks/{task['id']}")
    # Nothing to read in it: the page comes again.
    system.ask("POST", path, 422, headers=cookie(officer), data={**form, "reason": "  "})
    system.ask("POST", path, 303, headers=cookie(officer), data=form)


def hand_back(system: System, officer: dict[str, str], path: str, etag: str) -> str:
    """A supervisor gives the task to the queue, and says why; the version after it was claimed again."""
    boss = system.log_in(
        "officer", {"subject": "officer-9", "departments": ["elsewhere"], "supervises": DEPARTMENTS}
    )
    said = {"reason": system.canary.assignment}
    seen = {**boss, "If-Match": etag}
    wrong = {**said, "to": system.canary.assignment}
    system.refused("POST", f"{path}/assignment", 422, headers=seen, json=wrong)
    system.ask("POST", f"{path}/assignment", 200, headers=seen, json=said)
    claimed: str = system.ask("POST", f"{path}/claim", 200, headers=officer).headers["etag"]
    return claimed


def outlive_a_session(system: System, officer: dict[str, str], page: str) -> None:
    """Another session of the officer ends while its page is open; what they wrote is there afterwards."""
    other = cookie(system.log_in("officer", {"subject": "officer-1", "departments": DEPARTMENTS}))
    fields = hidden(system.ask("GET", page, 200, headers=other))
    system.ask("POST", "/logout", 303, headers=other)
    form = {**fields, "outcome": "denied", "reason": system.canary.held}
    sent = system.ask("POST", f"{page}/decision", 303, headers=other, data=form)
    [back] = re.findall(r'onestop_back="?([^";&]+)', sent.headers["set-cookie"])
    again = system.ask("GET", back, 200, headers=cookie(officer))
    assert system.canary.held in again.text


def verify_a_contact(system: System, citizen: dict[str, str]) -> str:
    """On the page, with the code that comes by SMS; the code."""
    who = system.canary

    def page() -> httpx.Response:
        return system.ask("GET", "/contacts", 200, headers=cookie(citizen))

    wait_for(lambda: 'action="/contacts"' in page().text, "codes can be sent", of=system.made)
    form = {**hidden(page()), "kind": "phone"}
    system.ask(
        "POST", "/contacts", 422, headers=cookie(citizen), data={**form, "value": who.contact + who.name}
    )
    sent = system.ask("POST", "/contacts", 303, headers=cookie(citizen), data={**form, "value": who.contact})
    where = sent.headers["location"]

    def codes() -> list[str]:
        return [taken.params["code"] for taken in system.sms.taken() if "code" in taken.params]

    wait_for(lambda: bool(codes()), "a code by SMS", of=system.made)
    [code] = codes()
    fields = hidden(system.ask("GET", where, 200, headers=cookie(citizen)))
    for typed, expect in ((who.name, 422), (code, 303)):
        data = {**fields, "code": typed}
        system.ask("POST", f"{where}/verification", expect, headers=cookie(citizen), data=data)
    api = f"/api/v1{where}/verification"
    system.refused("POST", api, 409, headers=citizen, json={"code": code})
    system.ask("GET", "/api/v1/contacts", 200, headers=citizen)
    return code


def be_told_unasked(system: System, citizen: dict[str, str]) -> str:
    """Somebody is told of a case that another brings for them, and stops it; the code of the message."""
    who = system.canary
    elder = {"name": who.elder, "id_number": who.elder_id, "phone": who.elder_phone}
    agent = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
    body = application(who, applicant=elder, agent={**agent, "relation": "child", "ground": "elderly"})
    system.ask("POST", "/api/v1/cases", 201, headers=keyed(citizen), json=body)

    def codes() -> list[str]:
        return [taken.params["stop"] for taken in system.sms.taken() if taken.params.get("stop")]

    wait_for(lambda: bool(codes()), "a message that says how to stop it", of=system.made)
    code = codes()[0]
    system.refused("POST", "/api/v1/notices/stop", 404, json={"code": f"{who.name} {who.elder_phone}"})
    system.ask("POST", "/stop", 422, data={"code": code, "what": who.name[:20]})
    system.ask("POST", "/stop", 200, data={"code": code, "what": "everything"})
    system.ask("POST", "/api/v1/notices/stop", 200, json={"code": code})
    return code


def look_again(system: System, citizen: dict[str, str], case: dict[str, Any]) -> None:
    """Whoever asks is shown the reasons."""
    asked = {"number": case["number"], "query_code": case["query_code"]}
    page = system.ask("GET", f"/cases/{case['number']}", 200, headers=cookie(citizen))
    found = system.ask("POST", "/lookup", 200, data=asked)
    assert system.canary.reason in page.text
    assert system.canary.reason in found.text
    system.ask("POST", "/api/v1/cases/lookup", 200, json=asked)
    system.ask("GET", f"/api/v1/cases/{case['number']}", 200, headers=citizen)
    system.ask("GET", "/cases", 200, headers=cookie(citizen))
    system.ask("GET", "/api/v1/messages", 200, headers=citizen)
    wait_for(lambda: len(system.sms.taken()) >= 3, "notices by SMS", of=system.made)
    wait_for(lambda: len(system.mail.taken()) >= 3, "notices by e-mail", of=system.made)


def let_a_fact_fail(system: System, citizen: dict[str, str]) -> str:
    """Errors of the database that quote what we were about to write: in a consumer, then under a request."""
    who, made = system.canary, system.made
    row = adapt(f"Failing row contains ({who.name}, {who.id_number},\n{who.address}, {who.phone})."[::-1])
    row.encoding = "utf-8"
    made.change(
        "CREATE FUNCTION public.quote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation "
        f"USING MESSAGE = 'a check is violated', DETAIL = reverse({row.getquoted().decode()}); END $$"
    )
    trigger = "CREATE TRIGGER quote BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION public.quote()"
    made.change(trigger.format("approval.cases"))
    sent = application(who)
    number: str = system.ask("POST", "/api/v1/cases", 201, headers=keyed(citizen), json=sent).json()["number"]

    def is_parked() -> bool:
        # As if four attempts were over. One row at a time: its worker is at work on others.
        made.change(
            "UPDATE approval.inbox SET due_at = due_at - interval '1 hour', attempts = 4 "
            "WHERE state = 'retry' AND case_no = :n",
            n=number,
        )
        parked = "SELECT 1 FROM approval.inbox WHERE state = 'parked' AND case_no = :n"
        return bool(made.rows(parked, n=number))

    wait_for(is_parked, "a fact that fails is parked", of=made)
    made.change(trigger.format("intake.cases"))
    system.refused("POST", "/api/v1/cases", 500, headers=keyed(citizen), json=sent)
    return number


def send_strays(system: System) -> None:
    """A sender that knows no law: a payload that does not fit its class, and bytes that are no fact."""
    who, made = system.stray, system.made
    ident, number = str(new_id()), "330106269999990001X"
    fact = {
        "id": ident,
        "specversion": "1.0",
        "source": "/onestop/intake",
        "type": "onestop.intake.case-submitted.v1",
        "subject": number,
        "time": "2026-11-23T02:00:00+00:00",
        "sequence": "1",
        "datacontenttype": "application/json",
    }
    data = {
        "matter": MATTER,
        "matter_version": who.phone,
        "region": "330106",
        "applicant": who.id_number,
        "holders": {who.name: who.address},
        "facts": {who.name: [who.address], who.phone: who.reason, who.email: who.email},
        "consents": {who.name: who.address},
        "channel": who.address,
        "received_at": who.phone,
    }
    if made.broker_url is None:
        with made.context("intake").engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT approval.deliver(%s)",
                (json.dumps({"received_at": fact["time"], "events": [{**fact, "data": data}]}),),
            )
    else:
        headers = {f"ce-{name}": value for name, value in fact.items() if name != "datacontenttype"}
        with closing(pika.BlockingConnection(pika.URLParameters(made.broker_url))) as connection:
            channel = connection.channel()
            # What no broker has confirmed it may lose.
            channel.confirm_delivery()
            for body in (json.dumps(data).encode(), " ".join(who.values().values()).encode()):
                properties = pika.BasicProperties(
                    "application/json", headers=headers, delivery_mode=2, user_id=user_name("intake")
                )
                channel.basic_publish(EXCHANGE, fact["type"], body, properties, mandatory=True)
        wait_for(lambda: bool(made.rows("SELECT 1 FROM approval.undecodable")), "bytes are parked", of=made)
    parked = "SELECT 1 FROM approval.inbox WHERE id = CAST(:id AS uuid) AND state = 'unreadable'"
    wait_for(lambda: bool(made.rows(parked, id=ident)), "what cannot be read is parked", of=made)


@pytest.fixture(scope="session")
def postgres(server_secrets: Path) -> Iterator[PostgresServer]:
    """A server of our own, whose files and output hold nothing else."""
    with scratch_folder() as folder:
        server = PostgresServer(folder / "data", tcp_port=free_port(), secrets_dir=server_secrets)
        with (folder / "postgres.log").open("wb") as output:
            server.start(output.fileno())
            try:
                yield server
            finally:
                server.stop()


@pytest.fixture(scope="module", params=["database", "rabbitmq"])
def aftermath(
    request: pytest.FixtureRequest, postgres: PostgresServer, template_settings: Settings
) -> Iterator[Aftermath]:
    """Open a system, live through everything, end its processes, and gather what is left."""
    delivery: str = request.param
    node: RabbitNode | None = request.getfixturevalue("rabbitmq") if delivery == "rabbitmq" else None
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        address = node.url if node else None
        made = stack.enter_context(make_installation(postgres, template_settings, scratch, address))
        spy = stack.enter_context(closing(Spy(made.broker_url)))
        sms, mail = SmsStandin(scratch), MailStandin(scratch / "mail")
        for standin in (sms, mail):
            stack.callback(standin.kill)
        web_port, *probed = start(made, sms, mail)
        url = f"http://127.0.0.1:{web_port}"
        client = stack.enter_context(httpx.Client(base_url=url, timeout=10, trust_env=False))
        system = System(made, TOLD[delivery], STRAY[delivery], client, sms, mail)
        wait_for(lambda: all(map(answers, probed)), "everything is up", 60, of=made)
        lived = live_through(system)
        send_strays(system)
        metrics = [client.get(f"http://127.0.0.1:{port}/metrics").content for port in probed]
        for process in made.workers:
            process.kill()
        made.change("CHECKPOINT")
        yield Aftermath(
            told={**system.canary.values(), "query_code": lived.query_code},
            codes=written({"stop code": lived.stop_code}) | written_code(lived.one_time_code),
            stray={f"stray {what}": value for what, value in system.stray.values().items()},
            number=lived.number,
            lost=lived.lost,
            logs=contents(
                [*scratch.glob("*.log"), scratch / "sms.jsonl", postgres.data_dir.parent / "postgres.log"]
            ),
            rows=rows(made),
            reasons=reasons(made),
            facts=spy.facts(),
            metrics=dict(zip(("web", "worker"), metrics, strict=True)),
            addresses={"addresses": "\n".join(system.addresses).encode()},
            refusals={"refusals": "\n".join(system.refusals).encode()},
            database=postgres.data_dir,
            broker=node.data_dir if node else None,
        )


class Spy:
    """Hears every fact that goes over the broker, and keeps it there on disk until it is read."""

    def __init__(self, url: str | None) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url)) if url else None
        if self._connection is not None:
            self._channel = self._connection.channel()
            self._channel.queue_declare(SPY, durable=True)
            self._channel.queue_bind(SPY, EXCHANGE, "#")

    def facts(self) -> dict[str, bytes]:
        """Everything that was heard: routing key, properties, headers and body. They stay in the queue."""
        found: dict[str, bytes] = {}
        if self._connection is None:
            return found
        while True:
            method, properties, body = self._channel.basic_get(SPY)
            if method is None:
                return found
            about = f"{method.routing_key} {properties}".encode()
            found[f"fact {len(found)} {method.routing_key}"] = about + b"\n" + body

    def close(self) -> None:
        """Take it away."""
        if self._connection is not None:
            self._channel.queue_delete(SPY)
            self._connection.close()


def start(made: Installation, sms: SmsStandin, mail: MailStandin) -> tuple[int, int, int]:
    """One web process, one worker process for all; they say everything that they have to say.

    The ports: of the doors, and of probes and metrics of each.
    """
    web_port, internal_port, worker_port = free_ports(3, set())
    environment = made.environment() | {
        "ONESTOP_DEV_IDENTITY": "true",
        "ONESTOP_IDENTITY__ONE_TIME_CODE__KINDS": "phone",
        "ONESTOP_LOG_LEVEL": "DEBUG",
        "ONESTOP_PEERS": json.dumps(dict.fromkeys(SERVICES, f"http://127.0.0.1:{internal_port}")),
        **sms.environment(),
        **mail.environment(),
        "ONESTOP_WEB__COOKIE_SECURE": "false",
        "ONESTOP_WEB__INTERNAL_PORT": str(internal_port),
        "ONESTOP_WEB__PORT": str(web_port),
        "ONESTOP_WORKER__HEALTH_PORT": str(worker_port),
    }
    for kind in ("web", "worker"):
        log = made.scratch / f"{kind}.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "deploy.cli", "run", kind]
            process = spawn(command, output=output.fileno(), environment=environment, cwd=ROOT)
        made.workers.append(Worker(process, log))
    sms.start()
    mail.start()
    return web_port, internal_port, worker_port


def answers(port: int) -> bool:
    try:
        return is_ready(port)
    except OSError:
        return False


def contents(files: Iterable[Path]) -> dict[str, bytes]:
    """By name, those that are files and not empty; of those that are alike only one, and no long nothings."""
    found = {_without_zeros(path.read_bytes()): str(path) for path in files if path.is_file()}
    return {name: content for content, name in found.items() if content}


def _without_zeros(content: bytes) -> bytes:
    page = 512
    return b"\0".join(part for part in content.split(bytes(page)) if part)


def rows(made: Installation) -> dict[str, bytes]:
    """Every row of every table as text, bytes in hex: the files may hold them packed."""
    tables = made.rows(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = ANY(:schemas)",
        schemas=[*SERVICES, "onestop"],
    )
    found = {t.name: made.rows(f"SELECT CAST(t AS text) AS line FROM {t.name} t") for t in tables}
    return {name: "\n".join(row.line for row in lines).encode() for name, lines in found.items()}


def reasons(made: Installation) -> dict[str, bytes]:
    """Why something is parked or given up, and what the lines of metadata beside it say."""
    parts = [
        f"SELECT '{s}' AS service, CAST(to_jsonb(r) - 'sealed' - 'event' AS text) AS line FROM {s}.{table} r "
        "WHERE reason IS NOT NULL"
        for s in SERVICES
        for table in ("inbox", "jobs", "undecodable")
    ]
    found = made.rows(" UNION ALL ".join(parts))
    return {f"{row.service} {n}": row.line.encode() for n, row in enumerate(found)}


def test_the_searcher_finds_every_shape() -> None:
    """Else nothing below would mean anything."""
    values = TOLD["database"].values()
    shapes = written(values)
    assert len(shapes) > 8 * len(values)
    for what, shape in shapes.items():
        assert f"here: {what}" in traces(values, {"here": b"before" + shape + b"after"})
    for offset in range(3):
        said = b64encode(b"x" * offset + values["name"].encode() + b"more")
        assert f"here: name base64 {offset}" in traces(values, {"here": said})
    assert traces(values, {"here": json.dumps(STRAY["database"].values()).encode()}) == set()


def test_the_searcher_finds_a_code_where_it_stands() -> None:
    shapes = written_code("271828")
    for what, shape in shapes.items():
        assert f"here: {what}" in found(shapes, {"here": b"before" + shape + b"after"})
    for said in (b'{"code": "271828"}', b"\x0f271828", b"code=271828&x"):
        assert found(shapes, {"here": said})
    assert found(shapes, {"here": b"at 10:00:00.271828Z"}) == set()


def test_no_code_that_was_sent_is_kept_or_said(aftermath: Aftermath) -> None:
    """But by whoever sent it for us, which shows that we look for what there was."""
    ledger = {name: said for name, said in aftermath.logs.items() if name.endswith("sms.jsonl")}
    sent = found(aftermath.codes, ledger)
    assert {what.partition(": ")[2].partition(" ")[0] for what in sent} == {"stop", "one-time"}
    assert b"one_time_codes" in b" ".join(name.encode() for name in aftermath.rows)
    for where in (
        {name: said for name, said in aftermath.logs.items() if name not in ledger},
        *(aftermath.rows, aftermath.reasons, aftermath.facts, aftermath.metrics),
        *(aftermath.addresses, aftermath.refusals),
        contents(aftermath.database.rglob("*")),
        contents(aftermath.broker.rglob("*")) if aftermath.broker is not None else {},
    ):
        assert found(aftermath.codes, where) == set()


def test_what_is_to_be_looked_for_was_there(aftermath: Aftermath) -> None:
    for table in ("intake.contact_points", "approval.held_forms", "intake.unasked_contacts"):
        assert aftermath.rows[table], table


def test_no_process_says_it(aftermath: Aftermath) -> None:
    said = b"\n".join(aftermath.logs.values())
    assert {Path(name).name for name in aftermath.logs} >= {
        "web.log",
        "worker.log",
        "postgres.log",
        "sms.jsonl",
    }
    assert b"request_failed" in said
    assert b"event_failed" in said
    assert b"a check is violated" in said
    assert aftermath.lost.encode() in said
    assert traces(aftermath.told | aftermath.stray, aftermath.logs) == set()


def test_no_fact_says_it(aftermath: Aftermath) -> None:
    if aftermath.broker is None:
        assert aftermath.facts == {}
        return
    assert sum(aftermath.number.encode() in fact for fact in aftermath.facts.values()) > 10
    assert traces(aftermath.told, aftermath.facts) == set()


def test_no_row_says_it(aftermath: Aftermath) -> None:
    assert traces({"number": aftermath.number}, aftermath.rows) >= {
        f"{service}.cases: number" for service in SERVICES
    }
    assert aftermath.rows["intake.persons"]
    assert aftermath.rows["materials.uploads"]
    assert traces(aftermath.told | aftermath.stray, aftermath.rows) == set()


def test_no_reason_says_it(aftermath: Aftermath) -> None:
    said = b"\n".join(aftermath.reasons.values())
    assert aftermath.lost.encode() in said
    assert b"schema-invalid" in said
    assert aftermath.broker is None or any("approval" in name for name in aftermath.reasons)
    assert traces(aftermath.told | aftermath.stray, aftermath.reasons) == set()


def test_no_figure_says_it(aftermath: Aftermath) -> None:
    assert b'route="/api/v1/cases/{number}"' in aftermath.metrics["web"]
    assert b'channel="sms"' in aftermath.metrics["worker"]
    assert b'channel="email"' in aftermath.metrics["worker"]
    numbers = {"number": aftermath.number, "lost": aftermath.lost}
    assert traces(aftermath.told | aftermath.stray | numbers, aftermath.metrics) == set()


def test_no_address_says_it(aftermath: Aftermath) -> None:
    assert traces({"number": f"/cases/{aftermath.number}"}, aftermath.addresses)
    assert b"location: " in aftermath.addresses["addresses"]
    assert traces(aftermath.told, aftermath.addresses) == set()


def test_no_refusal_repeats_it(aftermath: Aftermath) -> None:
    assert b"/problems/" in aftermath.refusals["refusals"]
    assert traces(aftermath.told, aftermath.refusals) == set()


def test_no_file_of_the_database_holds_it(aftermath: Aftermath) -> None:
    files = contents(aftermath.database.rglob("*"))
    where = {Path(name.partition(":")[0]).parent.name for name in traces({"number": aftermath.number}, files)}
    assert "pg_wal" in where
    assert len(where) > 1, "the tables are on disk, too"
    # Through the door inside the database a stray fact comes as a row, and is sealed only when it is read.
    stray = aftermath.stray if aftermath.broker is not None else {}
    assert traces(aftermath.told | stray, files) == set()


def test_no_file_of_the_broker_holds_it(aftermath: Aftermath) -> None:
    if aftermath.broker is None:
        return
    files = contents(aftermath.broker.rglob("*"))
    assert traces({"number": aftermath.number}, files)
    assert traces(aftermath.stray, files), "what lies there in plain is found"
    assert traces(aftermath.told, files) == set()
