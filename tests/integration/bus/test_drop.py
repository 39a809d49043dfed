"""A parked fact is given up, and its case goes on."""

from uuid import uuid4

import pytest

from deploy.services import part
from shared.bus.handlers import handlers_of
from shared.bus.trouble import TroubleNotFound
from tests.integration.bus.failing import FailingCommands
from tests.integration.bus.history import Stage, events, ident, of_kind, open_line
from tests.support.installation import settle
from tests.support.trouble import drop


def test_dropping_lets_the_case_go_on(stage: Stage) -> None:
    number, facts = stage.new_case()
    deaf = handlers_of(part("notify", "worker").Worker)
    del deaf[of_kind(facts, "correction-required")["type"]]
    stage.installation.inbox("notify", deaf).receive(events(facts))
    without = stage.outcome(number)
    number, facts = stage.new_case()
    bad = of_kind(facts, "correction-required")
    inbox = stage.installation.inbox("notify", FailingCommands("notify", {ident(bad): 1000}).handlers())
    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        line.take()
        settle(stage.installation, "notify", inbox)

    drop(stage.installation.context("notify"), f"notify.fact.{bad['id']}")
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
        drop(stage.installation.context("notify"), f"notify.fact.{gone['id']}")
        line.send([early])
        line.take()
        settle(stage.installation, "notify", inbox)

    assert stage.installation.has_handled("notify", *(ident(fact) for fact in (early, *late)))
    assert stage.installation.unfinished("notify") == 0


def test_parked_ids_that_are_not_there(stage: Stage) -> None:
    context = stage.installation.context("notify")
    for unknown in (str(uuid4()), "0" * 64, "nonsense"):
        with pytest.raises(TroubleNotFound):
            drop(context, unknown)
