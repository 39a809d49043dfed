"""What this release cannot read, or nobody could."""

import hashlib
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from shared.bus.parking import (
    StillUnreadable,
    drop_parked,
    list_parked,
    replay_parked,
    show_parked,
)
from shared.bus.store import InboxStore
from shared.events.fact import UnknownFactType, fact_class
from shared.events.ids import new_id
from tests.integration.bus.failing import SECRET
from tests.integration.bus.history import (
    BrokerLine,
    Stage,
    ident,
    of_kind,
    open_line,
)
from tests.support.installation import settle


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
    assert ident(bad) not in stage.installation.states("notify")
    [row] = stage.installation.rows("SELECT state, reason FROM notify.undecodable")
    assert (row.state, row.reason) == ("parked", "envelope: ValueError")


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
        store = InboxStore("notify")
        assert store.read_again(context, [accepted["type"]], "an older release") == 1
        assert store.read_again(context, [accepted["type"]], "an older release") == 0
        assert stage.installation.states("notify")[ident(accepted)] == "unreadable"

    assert store.read_again(context, ["onestop.approval.other.v1"], "this release") == 0
    assert store.read_again(context, [accepted["type"]], "this release") == 1
    settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0
