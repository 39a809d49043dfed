"""Requests that meet a deadlock: those that we can avoid do not happen, the others nobody notices."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg2.errors
import pytest
from sqlalchemy import text

from services.intake import commands
from services.intake.commands import Submission
from services.intake.identity import persons
from shared import faults
from shared.bus.unit import Unit, unit_of
from shared.db.outages import DatabaseAway, Outage
from shared.db.transaction import transaction
from tests.support.hall import application
from tests.support.installation import (
    GAP,
    MATTER,
    Citizen,
    Installation,
    db_installation,
    id_number,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.journey import Journey, all_of, open_hall, trace
from tests.support.principals import PROGRAM

__all__ = ["db_installation", "secrets_dir", "template_settings"]

COMMANDS = 7
"""What writes for people: register, submit, supply, upload, claim, release, decide."""


def named_by(applicant: Citizen, agent: Citizen) -> dict[str, Any]:
    """A form in which one applies for the other."""
    form: dict[str, Any] = application(applicant)["form"]
    helper = {"name": agent.name, "id_number": agent.id_number, "phone": agent.phone}
    return {**form, "agent": {**helper, "relation": "spouse", "ground": "disabled"}}


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Two transactions that have each made their first person wait for one another, if both can get there."""
    make: Callable[..., UUID] = persons._make_person
    here = threading.local()
    both = threading.Barrier(2)

    def make_and_meet(unit: Unit, *rest: Any) -> UUID:
        made = make(unit, *rest)
        if not getattr(here, "met", False):
            here.met = True
            try:
                both.wait(0.5)
            except threading.BrokenBarrierError:
                # The other one waits in the database, as it should.
                both.reset()
        return made

    def again() -> None:
        both.reset()
        nonlocal here
        here = threading.local()

    monkeypatch.setattr(persons, "_make_person", make_and_meet)
    return again


def test_two_applications_name_the_same_new_people_crosswise(
    db_installation: Installation, meeting: Callable[[], None]
) -> None:
    context = db_installation.context("intake")
    matter = context.matters.latest(MATTER)

    def submit(form: dict[str, Any]) -> str:
        sent = Submission(matter, form, {}, "web", "test", "zh-CN", submitter=PROGRAM, another=True)
        with unit_of(context, "case.submit") as unit:
            return commands.submit_case(unit, sent).number

    with ThreadPoolExecutor(2) as both:
        for n in range(5):
            one, other = (Citizen(f"新人{m}", id_number(900 + m), f"138{m:08d}") for m in (2 * n, 2 * n + 1))
            forms = [named_by(one, other), named_by(other, one)]
            assert len(set(both.map(submit, forms))) == 2
            meeting()
    assert db_installation.value("SELECT count(*) FROM intake.persons") == 10
    assert db_installation.value("SELECT count(*) FROM intake.case_contacts") == 20


def test_crosswise_over_http(db_installation: Installation) -> None:
    rounds = 15
    with open_hall(db_installation) as client, ThreadPoolExecutor(4) as people:

        def apply(n: int) -> int:
            first = n - n % 2
            pair = [Citizen(f"新人{m}", id_number(800 + m), f"137{m:08d}") for m in (first, first + 1)]
            who, other = pair if n % 2 else reversed(pair)
            known = {"name": who.name, "id_number": who.id_number}
            token = client.post("/dev/tokens/citizen", json=known).json()["token"]
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
            body = {"matter": MATTER, "form": named_by(who, other), "another": True}
            return int(client.post("/api/v1/cases", headers=headers, json=body).status_code)

        assert set(people.map(apply, range(2 * rounds))) == {201}


@pytest.fixture
def other_session(db_installation: Installation) -> Iterator[Any]:
    """Somebody who does not notice deadlocks: whoever meets them in one is the victim."""
    with transaction(db_installation.admin, "test") as connection:
        connection.execute(text("SET LOCAL deadlock_timeout = '10min'"))
        yield connection


def test_a_request_that_loses_a_deadlock_is_run_again(
    db_installation: Installation, other_session: Any
) -> None:
    number = db_installation.submit(db_installation.citizen()).number
    db_installation.pump()
    task = db_installation.value("SELECT id FROM approval.tasks WHERE state = 'open'")
    with open_hall(db_installation) as client, ThreadPoolExecutor(1) as officer:
        body = {"subject": "officer-1", "departments": ["xihu-community"]}
        token = client.post("/dev/tokens/officer", json=body).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        other_session.execute(text("SELECT FROM approval.tasks WHERE id = :id FOR UPDATE"), {"id": task})
        answer = officer.submit(client.post, f"/api/v1/tasks/{task}/claim", headers=headers)
        wait_for(lambda: waiting(db_installation) == 1, "the request waits for the task")
        # It holds the case by now: returns when PostgreSQL has broken the circle at the request's expense.
        other_session.execute(text("SELECT FROM approval.cases WHERE number = :n FOR UPDATE"), {"n": number})
        assert not answer.done()
        other_session.rollback()
        assert answer.result(20).status_code == 200
    assert db_installation.value("SELECT officer FROM approval.tasks WHERE id = :id", id=task) == "officer-1"


def waiting(made: Installation) -> int:
    """Sessions of the web that wait for a lock."""
    return int(
        made.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND usename = 'onestop_approval_app' AND wait_event_type = 'Lock'"
        )
    )


def deadlock() -> DatabaseAway:
    return DatabaseAway(Outage.CONTENDED, psycopg2.errors.DeadlockDetected())


def test_each_command_meets_a_deadlock_once(db_installation: Installation) -> None:
    who = db_installation.citizen(GAP)
    with open_hall(db_installation) as client:
        undisturbed = Journey(who, client.request, db_installation.pump)
        passed = {point for point in trace(undisturbed) if point.endswith(".commit.before")}
        # The first process of an installation makes the data keys.
        points = passed - {"keys.activate.commit.before"}
        expected = all_of(db_installation, undisturbed)
    # A process that has not read keys and matters yet.
    with open_hall(db_installation) as client:
        met: set[str] = set()

        def meet_once(point: str) -> None:
            if point in points and point not in met:
                met.add(point)
                raise deadlock()

        def send(method: str, path: str, **options: Any) -> Any:
            faults.trace_points(meet_once)
            try:
                return client.request(method, path, **options)
            finally:
                faults.trace_points(None)

        journey = Journey(who, send, db_installation.pump)
        journey.run()
        assert met == points
        assert len(points) > COMMANDS
        assert journey.repeated == 0, "somebody had to send a request again"
        found = all_of(db_installation, journey)
        assert (found - expected, expected - found) == ({}, {})
