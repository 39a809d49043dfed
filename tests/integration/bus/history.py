"""The facts of one whole case, told to a service again: on either delivery, about another case number."""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID

import pika
from sqlalchemy import String, text

from deploy.services import part, subscriptions
from services.intake import queries as intake_queries
from services.intake.view import case_view
from shared.bus.boundary import Delivery
from shared.bus.consumer import QueueConsumer
from shared.bus.context import ServiceContext
from shared.bus.handlers import handlers_of
from shared.bus.inbox import Handler, Inbox
from shared.bus.topology import queue_name, user_name
from shared.bus.unit import unit_of
from shared.bus.wire import Message, Said, Unreadable, from_json, to_message, to_messages
from shared.db.transaction import transaction
from shared.db.types import AwareDateTime
from shared.events.fact import Event
from shared.events.ids import new_id
from tests.support.installation import GAP, Citizen, Installation, wait_for

Stored = dict[str, Any]

_TOLD_TIMES = frozenset({"accepted_at", "legal_due_at", "promised_due_at", "last_received_at"})
"""Moments that come out of facts; all others are read off the clock when something is handled."""
_OWN = frozenset(
    {"id", "fact", "identifier", "grant", "case_no", "number", "query_digest", "sequence", "last_fact"}
)
_BUS = frozenset(
    {
        "outbox",
        "messages",
        "inbox",
        "gates",
        "jobs",
        "undecodable",
        "trouble_acts",
        "data_keys",
        "idempotency_keys",
        "held_forms",
    }
)


@dataclass(frozen=True, slots=True)
class History:
    """All facts of one case in the order in which they were said."""

    number: str
    applicant: UUID
    facts: tuple[Stored, ...]

    def retold(self, number: str, applicant: UUID) -> list[Stored]:
        """The same facts about another case and person, under new ids that keep the order."""
        told = json.dumps(self.facts).replace(self.number, number)
        facts: list[Stored] = json.loads(told.replace(str(self.applicant), str(applicant)))
        last: dict[str, str] = {}
        for fact in facts:
            fact["id"] = str(new_id())
            if fact["source"] in last:
                fact["follows"] = last[fact["source"]]
            last[fact["source"]] = fact["id"]
        return facts


def record_history(installation: Installation, *, withdraws: bool = False) -> History:
    """Run a case with a correction, two steps, an approval and a certificate, inside the database.

    Its holder may take their consent back while it is examined, and agree again."""
    number = installation.submit(installation.citizen(GAP)).number
    installation.pump()
    installation.supply(number, "lease_contract")
    installation.pump()
    for act in (installation.withdraw, installation.renew) if withdraws else ():
        act(number)
        installation.pump()
    installation.decide(number)
    installation.pump()
    facts = [
        row.event
        for service in ("intake", "materials", "approval", "notify")
        for row in installation.rows(
            f"SELECT event FROM {service}.outbox WHERE case_no = :n ORDER BY id", n=number
        )
    ]
    applicant = installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    return History(number, applicant, tuple(sorted(facts, key=lambda fact: fact["time"])))


def heard_by(service: str, facts: Iterable[Stored]) -> list[Stored]:
    """What reaches a service: all facts of the speakers that it hears."""
    speakers = subscriptions()[service]
    return [fact for fact in facts if fact["source"].removeprefix("/onestop/") in speakers]


def events(facts: Iterable[Stored]) -> list[Event]:
    """The facts, read."""
    return [from_json(fact) for fact in facts]


def kind(fact: Stored) -> str:
    """`case-submitted` and the like."""
    return str(fact["type"]).split(".")[2]


def of_kind(facts: list[Stored], name: str) -> Stored:
    """The first fact of that kind."""
    return next(fact for fact in facts if kind(fact) == name)


def ident(fact: Stored) -> UUID:
    """The id of a fact, as tables hold it."""
    return UUID(fact["id"])


@dataclass(slots=True)
class Stage:
    """One service with what it must have before anybody tells it anything about a case."""

    installation: Installation
    service: str
    history: History
    who: Citizen
    applicant: UUID
    _made: int = 0

    def new_case(self) -> tuple[str, list[Stored]]:
        """A new case number, and what the service will hear about it."""
        if self.service == "intake":
            number = self.installation.submit(self.who).number
        else:
            self._made += 1
            number = f"{self._made:06d}-{new_id().hex[:20].upper()}"
        return number, heard_by(self.service, self.history.retold(number, self.applicant))

    def outcome(self, number: str) -> list[str]:
        """What the service made of a case, without ids and readings of the clock; comparable."""
        return outcome_of(self.installation, self.service, number)


def make_stage(installation: Installation, service: str, history: History) -> Stage:
    """A person with certificates, and the service on its own."""
    who = installation.citizen(GAP)
    installation.set_up_channels("sms")
    applicant = installation.value("SELECT person_ref FROM intake.persons ORDER BY created_at DESC LIMIT 1")
    return Stage(installation, service, history, who, applicant)


def outcome_of(
    installation: Installation, service: str, number: str, *, side_by_side: bool = False
) -> list[str]:
    """All rows of a service about a case, what it said and the jobs it left, in an order of their own.

    `side_by_side`: the services ran beside one another, and messages to people went beside one another, so
    that chance says which of two came first."""
    found = []
    for table in part(service, "models").Base.metadata.sorted_tables:
        columns = [column for column in table.columns if _tells(column)]
        place = next((c for c in table.columns if _names_a_case(c)), None)
        if table.name in _BUS or place is None or not columns:
            continue
        names = ", ".join(f'"{column.name}"' for column in columns)
        rows = installation.rows(f"SELECT {names} FROM {table} WHERE {place.name} = :n", n=number)
        found += [json.dumps([table.name, *row], default=str, sort_keys=True) for row in rows]
    said = installation.rows(f"SELECT event FROM {service}.outbox WHERE case_no = :n ORDER BY id", n=number)
    sequences = [int(row.event["sequence"]) for row in said]
    assert sequences == sorted(set(sequences)), "facts of one case stand out of order in the outbox"
    found += [
        json.dumps(["said", row.event["type"], _timeless(row.event["data"])], sort_keys=True) for row in said
    ]
    if service == "intake":
        found.append(json.dumps(["people see", _seen(installation, number, side_by_side)]))
    jobs = installation.rows(f"SELECT kind FROM {service}.jobs WHERE case_no = :n", n=number)
    found += [f"job {row.kind}" for row in jobs]
    return sorted(line.replace(number, "the case") for line in found)


def _seen(installation: Installation, number: str, side_by_side: bool) -> list[Any]:
    """The view of a case as its applicant reads it, the timeline in its order."""
    with unit_of(installation.context("intake"), "test.look") as unit:
        case = intake_queries.case(unit.session, number)
        assert case is not None
        seen = case_view(unit, case, "applicant")
    heard = [line for line in seen.pop("timeline") if line["service"] != "intake"]
    assert heard == sorted(heard, key=lambda line: str(line["at"]))
    if side_by_side:
        heard.sort(key=lambda line: (str(line["service"]), str(line["details"].get("template", ""))))
        seen["notified"] = sorted(seen["notified"], key=str)
    stages = [{**stage, "at": None} for stage in seen.pop("stages")]
    return [heard, stages, {**seen, "received_at": None}]


def _names_a_case(column: Any) -> bool:
    return column.name in ("number", "case_no") and isinstance(column.type, String)


def _tells(column: Any) -> bool:
    if column.name in _OWN or column.name.startswith("sealed_"):
        return False
    return not isinstance(column.type, AwareDateTime) or column.name in _TOLD_TIMES


def _timeless(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if not name.endswith("_at") and name != "certificate"}


class Line(Protocol):
    """A way into one service."""

    def send(self, facts: Sequence[Stored]) -> None:
        """Let facts be on their way, in this order."""

    def take(self) -> None:
        """Return when all that was sent has been handled once, or stored."""


@dataclass(slots=True)
class DatabaseLine:
    """Through the door `deliver`, called as another service does."""

    installation: Installation
    service: str
    inbox: Inbox
    batch: int = 100

    def send(self, facts: Sequence[Stored]) -> None:
        for source, said in groupby(facts, key=lambda fact: fact.get("source")):
            speaker = str(source).removeprefix("/onestop/")
            heard = subscriptions()[self.service]
            caller = speaker if speaker in heard else next(iter(heard))
            with transaction(self.installation.context(caller).engine, "test.deliver") as connection:
                connection.execute(
                    text(f"SELECT {self.service}.deliver(CAST(:body AS jsonb))"),
                    {"body": json.dumps({"received_at": "2026-11-23T00:00:00Z", "events": list(said)})},
                )

    def take(self) -> None:
        while self.inbox.run_batch(self.batch).count:
            continue


class Listening(Inbox):
    """Knows what it was given, and how; handles it when it may."""

    def __init__(self, context: ServiceContext, handlers: Mapping[str, Handler]) -> None:
        super().__init__(context, handlers)
        self.may_go = threading.Event()
        self.may_go.set()
        self.forget()

    def forget(self) -> None:
        """What was before is of no interest."""
        self.batches: list[list[Event]] = []
        self.suspects: list[Event] = []
        self.read: list[Event | Unreadable] = []

    def receive(self, events: Sequence[Event], unreadable: Sequence[Unreadable] = ()) -> None:
        self.batches.append(list(events))
        self.read += [*events, *unreadable]
        assert self.may_go.wait(30)
        super().receive(events, unreadable)

    def store_suspects(self, events: Sequence[Event], unreadable: Sequence[Unreadable] = ()) -> None:
        self.suspects += events
        super().store_suspects(events, unreadable)


def listening(installation: Installation, service: str) -> Listening:
    """The inbox of a service with its own commands."""
    return Listening(installation.context(service), handlers_of(part(service, "worker").Worker))


class _Counting(QueueConsumer):
    """Knows how many deliveries it has acknowledged; there is one connection in its life. A mute one tells
    the broker nothing."""

    acknowledged = 0
    mute = False

    def _send_settlement(self, channel: Any, some: Sequence[Delivery], rejected: Sequence[Delivery]) -> None:
        if not self.mute:
            super()._send_settlement(channel, some, rejected)
        self.acknowledged = some[-1].raw.tag


@dataclass(slots=True)
class BrokerLine:
    """Over the service's queue, with the consumer in threads of this process."""

    url: str
    service: str
    consumer: _Counting
    sent: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def send(self, facts: Sequence[Stored]) -> None:
        for fact in facts:
            message = to_message(fact)
            self.send_raw(message.body, message.headers, message.content_type)

    def send_raw(
        self, body: bytes, headers: Mapping[str, Any], content_type: str | None, encoding: str | None = None
    ) -> None:
        """Anything at all."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(
                "",
                queue_name(self.service),
                body,
                pika.BasicProperties(
                    headers=dict(headers),
                    content_type=content_type,
                    content_encoding=encoding,
                    delivery_mode=2,
                    user_id=speaking(headers.get("ce-source")),
                ),
                mandatory=True,
            )
        finally:
            connection.close()
        self.sent += 1

    def take(self) -> None:
        wait_for(
            lambda: self.consumer.acknowledged >= self.sent,
            f"{self.sent} messages acknowledged, not {self.consumer.acknowledged}",
        )


@contextmanager
def open_line(
    installation: Installation,
    service: str,
    inbox: Inbox,
    batch: int = 100,
    *,
    linger_s: float = 0.01,
    mute: bool = False,
) -> Iterator[Line]:
    """The way into a service that the installation's delivery has. A mute one handles what comes and does not
    tell the broker."""
    url = installation.broker_url
    if url is None:
        yield DatabaseLine(installation, service, inbox, batch)
        return
    consumer = _Counting(
        url, service, inbox, batch=batch, prefetch=200, linger_s=linger_s, run_batch=lambda work: work()
    )
    consumer.mute = mute
    line = BrokerLine(url, service, consumer)
    line.threads = [
        threading.Thread(target=run, name=run.__name__, daemon=True)
        for run in (consumer.run_reader, consumer.run_batches)
    ]
    for thread in line.threads:
        thread.start()
    try:
        yield line
    finally:
        consumer.stop(0)
        for thread in line.threads:
            thread.join(10)


def speaking(source: object) -> str:
    """The user of the broker as whom the service behind a CloudEvents source speaks."""
    return user_name(str(source).rpartition("/")[2])


def post(
    installation: Installation, service: str, facts: Sequence[Stored], *, together: bool = False
) -> None:
    """Let facts be on their way to a service that runs in processes of its own, one by one, or over a broker
    as many together as their speakers would send."""
    inbox = installation.inbox(service)
    url = installation.broker_url
    if url is None:
        DatabaseLine(installation, service, inbox).send(facts)
        return
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        for source, said in groupby(facts, key=lambda fact: fact["source"]):
            speaker = source.removeprefix("/onestop/")
            for message in _messages(speaker, list(said), together):
                properties = pika.BasicProperties(
                    headers=message.headers,
                    content_type=message.content_type,
                    delivery_mode=2,
                    user_id=speaking(source),
                )
                channel.basic_publish("", queue_name(service), message.body, properties)
    finally:
        connection.close()


def _messages(speaker: str, facts: Sequence[Stored], together: bool) -> Iterable[Message]:
    if not together:
        return map(to_message, facts)
    waiting = [Said(fact["subject"], fact["type"], json.dumps(fact)) for fact in facts]
    return to_messages(speaker, waiting)
