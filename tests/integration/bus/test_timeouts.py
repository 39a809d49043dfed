"""A time-out is nobody's fault. The third of the same facts in a row, while the database answers others, sets
aside the one that meets it; its neighbours go on, and it is handled when it can be."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from shared.bus.inbox import MAX_TIMEOUTS, Inbox
from shared.db.outages import DatabaseAway
from shared.db.roles import app_role
from tests.integration.bus.history import Stage, Stored, ident, kind, open_line
from tests.support.installation import Installation, settle

CASES = 12


@pytest.fixture
def hurried(installation: Installation) -> Installation:
    """Whoever waits for a lock gives up soon."""
    role, database = app_role("notify"), installation.settings.db.name
    installation.change(f"ALTER ROLE {role} IN DATABASE {database} SET lock_timeout = '100ms'")
    return installation


@contextmanager
def locked(made: Installation, statement: str) -> Iterator[None]:
    with made.admin.begin() as somebody:
        somebody.execute(text(statement))
        yield


def known_cases(stage: Stage) -> dict[str, list[Stored]]:
    """Cases that notify knows, and what it has not heard about them: first what it must act on."""
    cases = dict(stage.new_case() for _ in range(CASES))
    heard = [kind(fact) for fact in next(iter(cases.values()))].index("correction-required")
    inbox = stage.installation.inbox("notify")
    with open_line(stage.installation, "notify", inbox) as line:
        line.send([fact for facts in cases.values() for fact in facts[:heard]])
        line.take()
    settle(stage.installation, "notify", inbox)
    return {number: facts[heard:] for number, facts in cases.items()}


def tell(stage: Stage, facts: list[Stored]) -> None:
    """Send them, and try as often as it takes until each is handled or kept for later."""
    inbox = stage.installation.inbox("notify")
    with open_line(stage.installation, "notify", inbox) as line:
        line.send(facts)
        if stage.installation.broker_url:
            line.take()
        else:
            work_off(inbox)


def work_off(inbox: Inbox) -> None:
    outages = 0
    while True:
        try:
            if inbox.run_batch(100).count == 0:
                return
        except DatabaseAway:
            outages += 1
            assert outages < 2 * MAX_TIMEOUTS


WHAT = {
    "its case": "SELECT 1 FROM notify.cases WHERE number = '{}' FOR UPDATE",
    "its gate": "SELECT 1 FROM notify.gates WHERE case_no = '{}' FOR UPDATE",
}


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.usefixtures("hurried")
def test_one_fact_is_set_aside_and_its_neighbours_go_on(stage: Stage, expected: list[str], what: str) -> None:
    cases = known_cases(stage)
    stuck = list(cases)[CASES // 2]
    first = [facts[0] for facts in cases.values()]

    with locked(stage.installation, WHAT[what].format(stuck)):
        tell(stage, first)
        neighbours = [ident(facts[0]) for number, facts in cases.items() if number != stuck]
        assert stage.installation.has_handled("notify", *neighbours)
        [row] = stage.installation.rows("SELECT * FROM notify.inbox")
        assert (str(row.id), row.state) == (cases[stuck][0]["id"], "retry")
        assert (row.attempts, row.deaths) == (0, 0), "nobody's fault, so nothing is counted"
        assert row.reason.startswith("set aside")

    tell(stage, [fact for facts in cases.values() for fact in facts[1:]])
    settle(stage.installation, "notify", stage.installation.inbox("notify"))
    assert [number for number in cases if stage.outcome(number) != expected] == []
    assert stage.installation.unfinished("notify") == 0


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_nobody_is_set_aside_while_nobody_is_answered(stage: Stage) -> None:
    cases = known_cases(stage)
    inbox = stage.installation.inbox("notify")
    with open_line(stage.installation, "notify", inbox) as line:
        line.send([facts[0] for facts in cases.values()])
    with locked(stage.installation, "LOCK TABLE notify.gates, notify.outbox"):
        for _ in range(2 * MAX_TIMEOUTS):
            with pytest.raises(DatabaseAway):
                inbox.run_batch(100)
    assert stage.installation.states("notify") == {}
    while inbox.run_batch(100).count:
        continue
    assert stage.installation.has_handled("notify", *(ident(facts[0]) for facts in cases.values()))


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_a_table_that_nobody_can_use_parks_nothing(stage: Stage, expected: list[str]) -> None:
    cases = known_cases(stage)
    inbox = stage.installation.inbox("notify")
    with open_line(stage.installation, "notify", inbox) as line:
        line.send([facts[0] for facts in cases.values()])
    with locked(stage.installation, "LOCK TABLE notify.cases IN ACCESS EXCLUSIVE MODE"):
        for _ in range(MAX_TIMEOUTS - 1):
            with pytest.raises(DatabaseAway):
                inbox.run_batch(100)
            stage.installation.make_due("notify")
    assert stage.installation.states("notify") == {}, "still the message of a holder that lives"

    with open_line(stage.installation, "notify", inbox) as line:
        line.send([fact for facts in cases.values() for fact in facts[1:]])
    work_off(inbox)
    settle(stage.installation, "notify", inbox)

    assert [number for number in cases if stage.outcome(number) != expected] == []
    assert stage.installation.unfinished("notify") == 0


def test_an_outage_in_the_middle_of_a_batch_leaves_it_with_its_holder(
    stage: Stage, expected: list[str]
) -> None:
    cases = known_cases(stage)
    inbox = stage.installation.inbox("notify")
    before = stage.installation.handled("notify")
    inbox.receive([])
    stage.installation.change(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = '{app_role('notify')}' AND datname = current_database()"
    )

    tell(stage, [fact for facts in cases.values() for fact in facts])

    assert stage.installation.handled("notify") > before
    assert [number for number in cases if stage.outcome(number) != expected] == []
    assert stage.installation.states("notify") == {}
