"""A command that fails is tried again, parked alone at last and replayed; its neighbours go on."""

import json
from typing import Any

import pytest

from deploy.services import part
from services.notify.models import InboxMessage
from shared.bus.changes import MAX_ATTEMPTS
from shared.bus.handlers import handlers_of
from shared.bus.inbox import Handler
from shared.bus.trouble import TroubleNotFound
from shared.bus.unit import Unit
from shared.events.fact import Event
from shared.events.ids import new_id
from tests.integration.bus.failing import SECRET, FailingCommands
from tests.integration.bus.history import Stage, ident, kind, of_kind, open_line
from tests.support.installation import settle
from tests.support.trouble import retry, show, trouble_of


def test_a_command_that_fails_twice_then_succeeds(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    neighbour, others = stage.new_case()
    bad = of_kind(facts, "case-accepted")
    failing = FailingCommands("notify", {ident(bad): 2})
    inbox = stage.installation.inbox("notify", failing.handlers())

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts + others)
        line.take()
        assert stage.installation.states("notify")[ident(bad)] == "retry"
        assert stage.outcome(neighbour) == expected
        settle(stage.installation, "notify", inbox)

    assert failing.times[ident(bad)] == 0
    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_one_that_always_fails_is_parked_alone_and_replayed_after_a_fix(
    stage: Stage, expected: list[str]
) -> None:
    number, facts = stage.new_case()
    neighbour, others = stage.new_case()
    bad = of_kind(facts, "case-accepted")
    context = stage.installation.context("notify")
    failing = FailingCommands("notify", {ident(bad): 1000})
    inbox = stage.installation.inbox("notify", failing.handlers())

    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts + others)
        line.take()
        settle(stage.installation, "notify", inbox)

    assert failing.times[ident(bad)] >= 1000 - 2 * MAX_ATTEMPTS
    assert stage.outcome(neighbour) == expected
    states = stage.installation.states("notify")
    approval = [fact for fact in facts if fact["source"] == "/onestop/approval"]
    behind = approval[approval.index(bad) + 1 :]
    assert {kind(fact) for fact in facts if states.get(ident(fact)) == "parked"} == {"case-accepted"}
    assert {ident(fact) for fact in behind} == {key for key, state in states.items() if state == "waiting"}
    [parked] = trouble_of(context, "parked")
    assert (parked.id, parked.case, parked.attempts) == (f"notify.fact.{bad['id']}", number, MAX_ATTEMPTS)
    assert parked.behind == len(behind)
    assert str(parked.reason).startswith("RuntimeError at ")
    assert SECRET not in json.dumps(show(context, parked.id), default=str, ensure_ascii=False)

    retry(context, parked.id)
    settle(stage.installation, "notify", stage.installation.inbox("notify"))

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0
    assert stage.installation.rows("SELECT act, actor FROM notify.trouble_acts") == [("retried", "operator")]
    with pytest.raises(TroubleNotFound):
        retry(context, parked.id)


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
