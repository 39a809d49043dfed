"""Holders that die, freeze and come back. Inside the database every message is claimed; over RabbitMQ those
facts are that came again."""

import threading
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text

from deploy.services import part
from shared import faults
from shared.bus.handlers import handlers_of
from shared.bus.host import Deliveries
from shared.bus.inbox import GROUP, MAX_DEATHS, Handler, Inbox
from shared.bus.store import Claim
from shared.bus.unit import Unit
from shared.db.outages import DatabaseAway
from shared.events.fact import Event
from tests.integration.bus.history import Stage, Stored, ident, open_line
from tests.support.installation import settle, wait_for
from tests.support.trouble import retry, trouble_of

pytestmark = pytest.mark.parametrize("delivery", ["database"], indirect=True)


def send(stage: Stage, facts: list[Stored]) -> None:
    with open_line(stage.installation, "notify", stage.installation.inbox("notify")) as line:
        line.send(facts)


def claim(stage: Stage, inbox: Inbox) -> Claim:
    """Claim what is there, and do no more: the holder dies or freezes."""
    return inbox._store.claim_messages(stage.installation.context("notify"), 100)


def claim_due(stage: Stage, inbox: Inbox) -> Claim:
    return inbox._store.claim_due(stage.installation.context("notify"), most=GROUP, max_deaths=MAX_DEATHS)


def let_claims_end(stage: Stage) -> None:
    """Nobody has heard of the holder for so long that it is suspected, nor since."""
    stage.installation.change(
        "UPDATE notify.inbox SET state = 'suspected', due_at = due_at - interval '1 day' "
        "WHERE state = 'claimed'"
    )
    stage.installation.change(
        "UPDATE notify.messages SET suspected = true, due_at = due_at - interval '1 day' "
        "WHERE holder IS NOT NULL"
    )


def test_a_zombie_whose_claim_was_taken_over_changes_nothing(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    zombie, heir = stage.installation.inbox("notify"), stage.installation.inbox("notify")
    send(stage, facts)
    taken = claim(stage, zombie)
    assert len(taken.events) == len(facts)
    settle(stage.installation, "notify", heir)
    before = stage.installation.rows("SELECT xmin, * FROM notify.gates ORDER BY case_no")

    zombie._work_off(taken)

    assert stage.installation.rows("SELECT xmin, * FROM notify.gates ORDER BY case_no") == before
    assert stage.outcome(number) == expected


def test_an_heir_that_freezes_in_its_turn_leaves_it_to_the_next(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    frozen, heir = stage.installation.inbox("notify"), stage.installation.inbox("notify")
    send(stage, facts)
    claim(stage, stage.installation.inbox("notify"))
    let_claims_end(stage)
    lost = frozen._store.claim_lost_message(stage.installation.context("notify"), max_deaths=MAX_DEATHS)
    assert lost is not None
    let_claims_end(stage)
    settle(stage.installation, "notify", heir)
    before = stage.installation.rows("SELECT xmin, * FROM notify.gates ORDER BY case_no")

    frozen._work_off(lost)

    assert stage.installation.rows("SELECT xmin, * FROM notify.gates ORDER BY case_no") == before
    assert stage.outcome(number) == expected


def test_a_holder_that_was_only_silent_goes_on(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    holder, other = stage.installation.inbox("notify"), stage.installation.inbox("notify")
    send(stage, facts[:1])
    taken = claim(stage, holder)
    stage.installation.make_due("notify")
    assert other.run_batch(100).count == 0, "suspected, and not taken over yet"

    holder._unfinished.append(taken)
    assert holder.run_batch(100).count == 1

    assert stage.installation.has_handled("notify", ident(facts[0]))
    send(stage, facts[1:])
    settle(stage.installation, "notify", other)
    assert stage.outcome(number) == expected


def test_a_message_whose_holder_died_is_split_and_handled_once(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    inbox = stage.installation.inbox("notify")
    send(stage, facts)
    claim(stage, inbox)
    assert inbox.run_alone() == 0, "the lease of a live holder is respected"

    settle(stage.installation, "notify", inbox)

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_facts_that_went_down_once_go_ten_at_a_time_and_after_twice_alone(stage: Stage) -> None:
    facts = [stage.new_case()[1][0] for _ in range(25)]
    inbox = stage.installation.inbox("notify")
    send(stage, facts)
    claim(stage, inbox)
    let_claims_end(stage)
    assert inbox.run_alone() > 0, "the message is split, and a group handled"
    deaths = "SELECT count(*) FROM notify.inbox WHERE deaths = 1 AND state = 'retry'"
    assert stage.installation.value(deaths) == len(facts) - GROUP
    assert len(claim_due(stage, inbox).events) == GROUP
    let_claims_end(stage)

    assert len(claim_due(stage, inbox).events) == 1, "after the second death each goes alone"


def test_the_third_death_parks_and_the_case_of_others_goes_on(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    inbox = stage.installation.inbox("notify")
    send(stage, facts[:1])
    claim(stage, inbox)
    let_claims_end(stage)
    lost = inbox._store.claim_lost_message(stage.installation.context("notify"), max_deaths=MAX_DEATHS)
    assert lost is not None
    inbox._work_off(lost)
    for death in range(1, MAX_DEATHS):
        assert len(claim_due(stage, inbox).events) == 1
        [row] = stage.installation.rows("SELECT state, deaths FROM notify.inbox")
        assert (row.state, row.deaths) == ("claimed", death)
        let_claims_end(stage)
    assert inbox.run_alone() == 1

    [parked] = trouble_of(stage.installation.context("notify"), "parked")
    assert (parked.id, parked.deaths) == (f"notify.fact.{facts[0]['id']}", MAX_DEATHS)
    assert str(parked.reason).startswith("process-died")
    retry(stage.installation.context("notify"), parked.id)
    send(stage, facts)
    settle(stage.installation, "notify", inbox)
    assert stage.outcome(number) == expected


def test_what_is_given_back_is_handled_by_others_at_once_and_nobody_died(
    stage: Stage, expected: list[str]
) -> None:
    number, facts = stage.new_case()
    ending, other = stage.installation.inbox("notify"), stage.installation.inbox("notify")
    send(stage, facts)
    ending._unfinished.append(claim(stage, ending))
    ending.give_back()

    while other.run_batch(100).count:
        continue

    assert stage.outcome(number) == expected
    assert stage.installation.unfinished("notify") == 0


def test_a_claim_of_which_nobody_knows_whether_it_happened_is_given_back(
    stage: Stage, expected: list[str]
) -> None:
    number, facts = stage.new_case()
    inbox = stage.installation.inbox("notify")
    send(stage, facts)

    def tear(point: str) -> None:
        if point == "inbox.claim.commit.after":
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    faults.trace_points(tear)
    try:
        with pytest.raises(DatabaseAway):
            inbox.run_batch(100)
    finally:
        faults.trace_points(None)
    assert stage.installation.value("SELECT count(*) FROM notify.messages WHERE holder IS NOT NULL") > 0

    while inbox.run_batch(100).count:
        continue

    assert stage.outcome(number) == expected
    assert stage.installation.states("notify") == {}, "nobody took it for a death"


def test_the_relay_stands_still_while_a_fact_is_handled_alone(stage: Stage) -> None:
    """What dies beside such a fact would be blamed on it, and three deaths park it."""
    beside: list[bool] = []
    found = handlers_of(part("notify", "worker").Worker)
    inbox = stage.installation.inbox("notify")
    host = Deliveries()
    host.context = stage.installation.context("notify")
    host.inbox = inbox
    host.relay = stage.installation.relay("notify")
    relaying = threading.Thread(target=host._relay, daemon=True)

    def command(unit: Unit, event: Event, loaded: Any) -> None:
        relaying.start()
        relaying.join(0.2)
        beside.append(not relaying.is_alive())
        found[event.type].command(unit, event, loaded)

    inbox._handlers = {type_: Handler(handler.load, command) for type_, handler in found.items()}
    send(stage, stage.new_case()[1][:1])
    claim(stage, inbox)
    let_claims_end(stage)

    assert inbox.run_alone() > 0
    relaying.join(10)
    assert beside == [False]
    assert not relaying.is_alive(), "it goes on afterwards"


@pytest.mark.parametrize("call", ["renew('{}', :ids, :by, '1 min')", "give_back(:by)"])
def test_whoever_locks_rows_of_the_inbox_does_it_in_the_order_of_their_ids(stage: Stage, call: str) -> None:
    """Else two that lock the same ones wait for each other."""
    made, holder = stage.installation, uuid4()
    low, high = sorted((uuid4(), uuid4()))
    for one in (high, low):
        made.change(
            "INSERT INTO notify.inbox "
            "(id, speaker, case_no, sequence, type, state, due_at, holder, received_at) "
            "VALUES (:id, 'intake', 'a', 1, 't', 'claimed', clock_timestamp(), :by, clock_timestamp())",
            id=one,
            by=holder,
        )

    def go() -> None:
        made.rows(f"SELECT * FROM notify.{call}", ids=[low, high], by=holder)

    going = threading.Thread(target=go)
    lock = text("SELECT 1 FROM notify.inbox WHERE id = :id FOR UPDATE NOWAIT")
    with made.admin.begin() as other:
        other.execute(lock, {"id": low})
        going.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: made.value(waiting) == 1, "it waits for the lower one")
        other.execute(lock, {"id": high})
    going.join(10)
    assert not going.is_alive()
