"""Facts out of place: another one under a number that ran, one that comes before what it needs."""

from shared.bus.gate import CONFLICT
from shared.events.ids import new_id
from tests.integration.bus.history import Stage, of_kind, open_line
from tests.support.installation import settle
from tests.support.trouble import drop


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
    parked = stage.installation.value("SELECT reason FROM notify.inbox WHERE id = :id", id=other["id"])
    assert parked == CONFLICT
    drop(stage.installation.context("notify"), f"notify.fact.{other['id']}")
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
