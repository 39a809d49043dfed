"""Holders that die, freeze and come back."""

import threading
from typing import Any
from uuid import UUID

import pytest

from deploy.services import part
from shared.bus.handlers import handlers_of
from shared.bus.host import Deliveries
from shared.bus.inbox import MAX_DEATHS, Handler, Inbox
from shared.bus.parking import (
    list_parked,
    replay_parked,
)
from shared.bus.unit import Unit, unit_of
from shared.events.fact import Event
from tests.integration.bus.history import Stage, open_line
from tests.support.installation import settle


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
