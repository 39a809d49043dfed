"""What goes wrong with one fact stays with that fact: it is tried again, parked, mended; neighbours go on."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from deploy.services import SERVICES, part
from services.notify.models import InboxMessage
from shared.bus.gate import CONFLICT
from shared.bus.handlers import handlers_of
from shared.bus.host import Deliveries
from shared.bus.inbox import MAX_DEATHS, Handler, Inbox
from shared.bus.parking import (
    ParkedNotFound,
    StillUnreadable,
    drop_parked,
    list_parked,
    replay_parked,
    show_parked,
)
from shared.bus.store import MAX_ATTEMPTS
from shared.bus.unit import Unit, new_id, unit_of
from shared.db.outages import DatabaseAway
from shared.db.transaction import transaction
from shared.events.fact import Event
from tests.integration.bus.history import (
    BrokerLine,
    History,
    Stage,
    Stored,
    events,
    kind,
    make_stage,
    open_line,
)
from tests.support.installation import Installation, settle

SECRET = "330106199003073012 张三"
"""Stands in the text of the exceptions that tests raise; it must be found nowhere."""


@dataclass
class Trouble:
    """Commands of a service that fail for chosen facts."""

    service: str
    failing: dict[UUID, int] = field(default_factory=dict)
    raises: Callable[[], Exception] = lambda: RuntimeError(SECRET)

    def handlers(self) -> Mapping[str, Handler]:
        """The service's own commands, with the trouble in front."""
        found = handlers_of(part(self.service, "worker").Worker)
        return {type_: Handler(handler.load, self._before(handler)) for type_, handler in found.items()}

    def _before(self, handler: Handler) -> Callable[[Unit, Event, Any], None]:
        def command(unit: Unit, event: Event, loaded: Any) -> None:
            handler.command(unit, event, loaded)
            if self.failing.get(event.id, 0) > 0:
                self.failing[event.id] -= 1
                raise self.raises()

        return command


@pytest.fixture
def stage(installation: Installation, history: History) -> Stage:
    """Notify, which hears three speakers."""
    return make_stage(installation, "notify", history)


@pytest.fixture
def expected(stage: Stage) -> list[str]:
    """What a case comes to when nothing goes wrong."""
    number, facts = stage.new_case()
    stage.installation.inbox("notify").receive(events(facts))
    return stage.outcome(number)


def of_kind(facts: list[Stored], name: str) -> Stored:
    return next(fact for fact in facts if kind(fact) == name)


def ident(fact: Stored) -> UUID:
    return UUID(fact["id"])


def reason(stage: Stage, fact: Stored) -> str:
    found = stage.installation.value("SELECT reason FROM notify.inbox WHERE id = :id", id=fact["id"])
    return str(found)


def test_a_command_that_fails_twice_then_succeeds(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    neighbour, others = stage.new_case()
    bad = of_kind(facts, "case-accepted")
    trouble = Trouble("notify", {ident(bad): 2})
    inbox = stage.installation.inbox("notify", trouble.handlers())

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts + others)
        line.take()
        assert stage.installation.states("notify")[ident(bad)] == "retry"
        assert stage.outcome(neighbour) == expected
        settle(stage.installation, "notify", inbox)

    assert trouble.failing[ident(bad)] == 0
    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_one_that_always_fails_is_parked_alone_and_replayed_after_a_fix(
    stage: Stage, expected: list[str]
) -> None:
    number, facts = stage.new_case()
    neighbour, others = stage.new_case()
    bad = of_kind(facts, "case-accepted")
    context = stage.installation.context("notify")
    trouble = Trouble("notify", {ident(bad): 1000})
    inbox = stage.installation.inbox("notify", trouble.handlers())

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts + others)
        line.take()
        settle(stage.installation, "notify", inbox)

    assert trouble.failing[ident(bad)] >= 1000 - 2 * MAX_ATTEMPTS
    assert stage.outcome(neighbour) == expected
    states = stage.installation.states("notify")
    approval = [fact for fact in facts if fact["source"] == "/onestop/approval"]
    behind = approval[approval.index(bad) + 1 :]
    assert {kind(fact) for fact in facts if states[ident(fact)] == "parked"} == {"case-accepted"}
    assert {ident(fact) for fact in behind} == {key for key, state in states.items() if state == "waiting"}
    [parked] = list_parked(context)
    assert (parked.id, parked.case, parked.attempts) == (bad["id"], number, MAX_ATTEMPTS)
    assert parked.waiting_behind == len(behind)
    assert parked.reason.startswith("RuntimeError at ")
    assert SECRET not in json.dumps(show_parked(context, bad["id"]), ensure_ascii=False)

    replay_parked(context, bad["id"], "operator")
    settle(stage.installation, "notify", stage.installation.inbox("notify"))

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0
    assert stage.installation.rows("SELECT act, actor FROM notify.parked_acts") == [("replayed", "operator")]
    with pytest.raises(ParkedNotFound):
        replay_parked(context, bad["id"], "operator")


def test_dropping_lets_the_case_go_on(stage: Stage) -> None:
    number, facts = stage.new_case()
    deaf = handlers_of(part("notify", "worker").Worker)
    del deaf[of_kind(facts, "correction-required")["type"]]
    stage.installation.inbox("notify", deaf).receive(events(facts))
    without = stage.outcome(number)
    number, facts = stage.new_case()
    bad = of_kind(facts, "correction-required")
    inbox = stage.installation.inbox("notify", Trouble("notify", {ident(bad): 1000}).handlers())
    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        line.take()
        settle(stage.installation, "notify", inbox)

    drop_parked(stage.installation.context("notify"), bad["id"], "operator")
    settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == without
    assert stage.installation.unfinished("notify") == 0


def test_dropping_before_its_turn_lets_the_case_go_on(stage: Stage) -> None:
    _, facts = stage.new_case()
    approval = [fact for fact in facts if fact["source"] == "/onestop/approval"]
    early, gone, late = approval[0], approval[1], approval[2:]
    gone["type"] = "onestop.approval.of-the-future.v1"
    inbox = stage.installation.inbox("notify")
    with open_line(stage.installation, "notify", inbox) as line:
        line.send([fact for fact in facts if fact is not early])
        line.take()
        settle(stage.installation, "notify", inbox)
        drop_parked(stage.installation.context("notify"), gone["id"], "operator")
        line.send([early])
        line.take()
        settle(stage.installation, "notify", inbox)

    states = stage.installation.states("notify")
    assert {states[ident(fact)] for fact in (early, *late)} == {"done"}
    assert stage.installation.unfinished("notify") == 0


@pytest.mark.parametrize("broken", ["unknown-type", "schema-invalid"])
def test_what_this_release_cannot_read_is_parked_sealed_and_holds_back_its_own_case(
    stage: Stage, expected: list[str], broken: str
) -> None:
    number, facts = stage.new_case()
    neighbour, others = stage.new_case()
    bad = of_kind(facts, "case-accepted")
    if broken == "unknown-type":
        bad["type"] = "onestop.approval.case-accepted.v99"
    else:
        bad["data"]["accepted_at"] = SECRET
    inbox = stage.installation.inbox("notify")

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts + others)
        line.take()
        settle(stage.installation, "notify", inbox)

    assert stage.outcome(neighbour) == expected
    [row] = stage.installation.rows("SELECT * FROM notify.inbox WHERE state = 'parked'")
    assert (str(row.id), row.case_no) == (bad["id"], number)
    assert row.reason.startswith(broken)
    assert SECRET not in row.reason
    assert row.event is None
    assert SECRET.encode() not in bytes(row.sealed)
    assert show_parked(stage.installation.context("notify"), bad["id"])["event"]["data"] == bad["data"]
    with pytest.raises(StillUnreadable):
        replay_parked(stage.installation.context("notify"), bad["id"], "operator")


UNDECODABLE = {
    "no JSON": (b"\xff\xfe no JSON at all", {}),
    "no object": (b"[1, 2]", {}),
    "nothing": (b"", {}),
    "too deep": (b'{"a":' * 50_000, {}),
    "not a number": (b'{"facts": NaN}', {}),
    "half a character": (b'{"step": "\\ud800"}', {}),
    "a zero byte": (b'{"step": "a\\u0000b"}', {}),
    "a sequence out of range": (b'{"step": "verify"}', {"ce-sequence": "99999999999"}),
    "no sequence": (b'{"step": "verify"}', {"ce-sequence": "two"}),
    "no id": (b'{"step": "verify"}', {"ce-id": "not a UUID"}),
    "a zero byte in the case": (b'{"step": "verify"}', {"ce-subject": "a\x00b"}),
    "no time": (b'{"step": "verify"}', {"ce-time": "yesterday"}),
    "somebody else's": (b'{"step": "verify"}', {"ce-source": "https://example.org"}),
}


@pytest.mark.parametrize("what", UNDECODABLE)
@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_bytes_that_are_no_fact_are_parked_under_their_hash(
    stage: Stage, expected: list[str], what: str
) -> None:
    body, changed = UNDECODABLE[what]
    number, facts = stage.new_case()
    context = stage.installation.context("notify")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(new_id()),
        "ce-source": "/onestop/approval",
        "ce-type": "onestop.approval.step-passed.v1",
        "ce-subject": "330106261123000017X",
        "ce-time": "2026-11-23T02:00:00+00:00",
        "ce-sequence": "1",
    } | changed

    with open_line(stage.installation, "notify", stage.installation.inbox("notify")) as line:
        assert isinstance(line, BrokerLine)
        line.send(facts[:3])
        for _ in range(2):
            line.send_raw(body, headers, "application/json")
        line.send(facts[3:])
        line.take()

    assert stage.outcome(number) == expected
    [row] = stage.installation.rows("SELECT * FROM notify.undecodable")
    assert row.sha256 == hashlib.sha256(body).hexdigest()
    assert (row.size, row.times, row.state) == (len(body), 2, "parked")
    assert not body or body not in bytes(row.sealed)
    assert context.vault.open_bytes(row.sealed, table="undecodable", row=row.sha256, column="sealed") == body
    drop_parked(context, row.sha256, "operator")
    assert list_parked(context) == []


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_what_comes_through_the_door_and_is_no_fact_is_parked(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    _, others = stage.new_case()
    bad = others[0] | {"time": "yesterday"}
    inbox = stage.installation.inbox("notify")

    with open_line(stage.installation, "notify", inbox) as line:
        line.send([bad, *facts])
        line.take()
        settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == expected
    assert stage.installation.states("notify")[ident(bad)] == "parked"


def test_another_fact_under_a_sequence_that_ran_is_parked(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    other = of_kind(facts, "case-accepted") | {"id": str(new_id())}
    inbox = stage.installation.inbox("notify")

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        line.take()
        line.send([other])
        line.take()

    assert stage.outcome(number) == expected
    assert reason(stage, other) == CONFLICT
    drop_parked(stage.installation.context("notify"), other["id"], "operator")
    assert stage.installation.unfinished("notify") == 0


def test_a_fact_of_another_speaker_that_must_come_first_is_waited_for(
    stage: Stage, expected: list[str]
) -> None:
    number, facts = stage.new_case()
    first = of_kind(facts, "case-submitted")
    inbox = stage.installation.inbox("notify")

    with open_line(stage.installation, "notify", inbox) as line:
        line.send([fact for fact in facts if fact is not first])
        line.take()
        settle(stage.installation, "notify", inbox, rounds=3)
        assert set(stage.installation.states("notify").values()) >= {"not_yet", "waiting"}
        assert stage.installation.value("SELECT sum(attempts) FROM notify.inbox") == 0
        line.send([first])
        line.take()
        settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_a_failing_flush_finds_its_culprit_among_neighbours(stage: Stage, expected: list[str]) -> None:
    numbers, facts = [], []
    for _ in range(8):
        number, told = stage.new_case()
        numbers.append(number)
        facts += told
    bad = next(fact for fact in facts if fact["subject"] == numbers[4] and kind(fact) == "case-decided")
    found = handlers_of(part("notify", "worker").Worker)
    handler = found[bad["type"]]

    def spoil(unit: Unit, event: Event, loaded: Any) -> None:
        handler.command(unit, event, loaded)
        if event.id == ident(bad):
            message = InboxMessage(id=new_id(), recipient=new_id(), case_no=event.case, sent_at=unit.wall)
            message.title, message.body = "longer than its column " * 20, ""
            unit.session.add(message)

    inbox = stage.installation.inbox("notify", {**found, bad["type"]: Handler(handler.load, spoil)})
    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        line.take()
        settle(stage.installation, "notify", inbox)

    states = stage.installation.states("notify")
    assert states[ident(bad)] == "parked"
    assert [stage.outcome(number) == expected for number in numbers] == [n != numbers[4] for n in numbers]
    blamed = stage.installation.rows("SELECT id FROM notify.inbox WHERE attempts > 0")
    assert blamed == [(ident(bad),)]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_nobody_is_blamed_for_a_lost_connection(
    installation: Installation, history: History, service: str
) -> None:
    stage = make_stage(installation, service, history)
    _, facts = stage.new_case()
    early = [fact for fact in facts if kind(fact) != "certificate-issued"]
    found = handlers_of(part(service, "worker").Worker)
    lost: list[Event] = []

    def lose(handler: Handler) -> Callable[[Unit, Event, Any], None]:
        def command(unit: Unit, event: Event, loaded: Any) -> None:
            handler.command(unit, event, loaded)
            if not lost:
                lost.append(event)
                unit.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        return command

    inbox = installation.inbox(service, {t: Handler(h.load, lose(h)) for t, h in found.items()})
    with pytest.raises(DatabaseAway):
        inbox.receive(events(early))
    assert installation.states(service) == {}
    inbox.receive(events(early))

    assert lost
    assert installation.value(f"SELECT sum(attempts) + sum(deaths) FROM {service}.inbox") == 0
    assert installation.unfinished(service) == 0


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
class TestClaims:
    """Holders that die, freeze and come back. Inside the database every fact is claimed; over RabbitMQ those
    are that came again."""

    def claim(self, stage: Stage, inbox: Inbox) -> tuple[list[Event], UUID]:
        taken = inbox._store.claim_new(stage.installation.context("notify"), 100)
        return taken.events, taken.holder

    def test_a_zombie_whose_claim_was_taken_over_changes_nothing(
        self, stage: Stage, expected: list[str]
    ) -> None:
        number, facts = stage.new_case()
        zombie, heir = stage.installation.inbox("notify"), stage.installation.inbox("notify")
        with open_line(stage.installation, "notify", heir) as line:
            line.send(facts)
        taken, holder = self.claim(stage, zombie)
        assert len(taken) == len(facts)
        assert heir.run_batch(100).count == 0
        settle(stage.installation, "notify", heir)
        before = stage.installation.rows("SELECT xmin, * FROM notify.inbox ORDER BY id")

        zombie._handle(taken, zombie._retake(holder), "inbox.batch")

        assert stage.installation.rows("SELECT xmin, * FROM notify.inbox ORDER BY id") == before
        assert stage.outcome(number) == expected

    def test_a_claim_that_ran_out_is_handled_alone_once(self, stage: Stage, expected: list[str]) -> None:
        number, facts = stage.new_case()
        inbox = stage.installation.inbox("notify")
        with open_line(stage.installation, "notify", inbox) as line:
            line.send(facts)
        self.claim(stage, inbox)

        assert inbox.run_alone() == 0, "the lease of a live holder is respected"
        settle(stage.installation, "notify", inbox)

        assert stage.outcome(number) == expected
        assert {row.deaths for row in stage.installation.rows("SELECT deaths FROM notify.inbox")} <= {0, 1}

    def test_the_third_death_parks_and_the_case_of_others_goes_on(
        self, stage: Stage, expected: list[str]
    ) -> None:
        number, facts = stage.new_case()
        inbox = stage.installation.inbox("notify")
        with open_line(stage.installation, "notify", inbox) as line:
            line.send(facts[:1])
        self.claim(stage, inbox)
        for death in range(1, MAX_DEATHS):
            stage.installation.make_due("notify")
            with unit_of(stage.installation.context("notify"), "test.claim") as unit:
                assert len(inbox._store.claim_one(unit, max_deaths=MAX_DEATHS).events) == 1
            row = stage.installation.rows(
                "SELECT state, deaths FROM notify.inbox WHERE id = :id", id=facts[0]["id"]
            )[0]
            assert (row.state, row.deaths) == ("claimed", death)
        stage.installation.make_due("notify")
        assert inbox.run_alone() == 1

        [parked] = list_parked(stage.installation.context("notify"))
        assert (parked.id, parked.deaths) == (facts[0]["id"], MAX_DEATHS)
        assert parked.reason.startswith("process-died")
        replay_parked(stage.installation.context("notify"), parked.id, "operator")
        with open_line(stage.installation, "notify", inbox) as line:
            line.send(facts)
        settle(stage.installation, "notify", inbox)
        assert stage.outcome(number) == expected

    def test_the_relay_stands_still_while_a_fact_is_handled_alone(self, stage: Stage) -> None:
        """What dies beside such a fact would be blamed on it, and three deaths park it."""
        beside: list[bool] = []
        found = handlers_of(part("notify", "worker").Worker)
        inbox = stage.installation.inbox("notify")
        host = Deliveries()
        host.inbox = inbox
        host.relay = stage.installation.relay("notify")
        relaying = threading.Thread(target=host._relay, daemon=True)

        def command(unit: Unit, event: Event, loaded: Any) -> None:
            relaying.start()
            relaying.join(0.2)
            beside.append(not relaying.is_alive())
            found[event.type].command(unit, event, loaded)

        inbox._handlers = {type_: Handler(handler.load, command) for type_, handler in found.items()}
        with open_line(stage.installation, "notify", inbox) as line:
            line.send(stage.new_case()[1][:1])
        self.claim(stage, inbox)
        stage.installation.make_due("notify")

        assert inbox.run_alone() == 1
        relaying.join(10)
        assert beside == [False]
        assert not relaying.is_alive(), "it goes on afterwards"


def test_parked_ids_that_are_not_there(stage: Stage) -> None:
    context = stage.installation.context("notify")
    for unknown in (str(uuid4()), "0" * 64, "nonsense"):
        with pytest.raises(ParkedNotFound):
            drop_parked(context, unknown, "operator")


def test_every_loss_of_the_connection_has_one_name(db_installation: Installation) -> None:
    # What psycopg2 says when the server dies in the middle of an answer; it is no OperationalError.
    said = Exception("error with status PGRES_TUPLES_OK and no message from the libpq")
    torn = DatabaseError("SELECT 1", None, said, connection_invalidated=True)
    with pytest.raises(DatabaseAway), transaction(db_installation.context("notify").engine, "test.torn"):
        raise torn
