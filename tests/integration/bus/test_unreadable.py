"""What this release cannot read, or nobody could."""

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from deploy.services import part
from shared.bus.handlers import handlers_of
from shared.bus.readable import read_again, try_unreadable
from shared.bus.trouble import StillUnreadable
from shared.events.fact import UnknownFactType, fact_class
from tests.integration.bus.failing import SECRET
from tests.integration.bus.history import (
    Stage,
    ident,
    of_kind,
    open_line,
)
from tests.support.installation import settle
from tests.support.trouble import retry, show, trouble_of


class CannotBeRead(BaseModel):
    """How an older release has the same type."""

    speaker: ClassVar[str] = "approval"
    not_said_any_more: str


@pytest.mark.parametrize("broken", ["unknown-type", "schema-invalid"])
def test_what_this_release_cannot_read_waits_sealed_and_holds_back_its_own_case(
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
    [row] = stage.installation.rows("SELECT * FROM notify.inbox WHERE state = 'unreadable'")
    assert (str(row.id), row.case_no) == (bad["id"], number)
    assert row.reason.startswith(broken)
    assert SECRET not in row.reason
    assert row.event is None
    assert SECRET.encode() not in bytes(row.sealed)
    [found] = trouble_of(stage.installation.context("notify"), "unreadable")
    assert (found.id, found.reason) == (f"notify.fact.{bad['id']}", row.reason)
    assert show(stage.installation.context("notify"), found.id)["event"]["data"] == bad["data"]
    with pytest.raises(StillUnreadable):
        retry(stage.installation.context("notify"), found.id)


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
    assert ident(bad) not in stage.installation.states("notify")
    [row] = stage.installation.rows("SELECT state, reason FROM notify.undecodable")
    assert (row.state, row.reason) == ("parked", "envelope: time")


@pytest.mark.parametrize("broken", ["unknown-type", "schema-invalid"])
def test_a_release_that_can_read_it_handles_it_without_anybodys_help(
    stage: Stage, expected: list[str], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, facts = stage.new_case()
    accepted = of_kind(facts, "case-accepted")
    inbox, context = stage.installation.inbox("notify"), stage.installation.context("notify")

    def older(type_: str) -> Any:
        """An older release's look at what it knows."""
        found = fact_class(type_)
        if type_ != accepted["type"]:
            return found
        if broken == "unknown-type":
            raise UnknownFactType(type_)
        return CannotBeRead

    with monkeypatch.context() as old:
        old.setattr("shared.bus.wire.fact_class", older)
        with open_line(stage.installation, "notify", inbox) as line:
            line.send(facts)
            line.take()
        settle(stage.installation, "notify", inbox)
        assert stage.installation.states("notify")[ident(accepted)] == "unreadable"
        # It tries again what another release put there, once.
        assert try_unreadable(context, [accepted["type"]], "an older release") == 1
        assert try_unreadable(context, [accepted["type"]], "an older release") == 0
        assert stage.installation.states("notify")[ident(accepted)] == "unreadable"

    assert try_unreadable(context, ["onestop.approval.other.v1"], "this release") == 0
    assert try_unreadable(context, [accepted["type"]], "this release") == 1
    settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_what_an_older_release_did_not_hear_is_handled_by_one_that_does(
    stage: Stage, expected: list[str]
) -> None:
    """No class of a fact has changed between the two: only a method was added that hears another speaker."""
    number, facts = stage.new_case()
    context = stage.installation.context("notify")
    newer = handlers_of(part("notify", "worker").Worker)
    older = {type_: handler for type_, handler in newer.items() if type_.split(".")[1] != "approval"}
    unheard = [ident(fact) for fact in facts if fact["source"] == "/onestop/approval"]

    inbox = stage.installation.inbox("notify", older)
    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        line.take()
    read_again(context, older)
    assert {stage.installation.states("notify")[one] for one in unheard} == {"unreadable"}

    read_again(context, newer)
    settle(stage.installation, "notify", stage.installation.inbox("notify", newer))

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0
