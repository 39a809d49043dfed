"""回避: an officer keeps out of what is their own, at every door of the desk, and reads it as a citizen."""

from typing import Any
from uuid import UUID

import pytest

from tests.integration.http.test_read_task import OFFICERS_DOORS
from tests.support.agents import under_review_by_agent
from tests.support.hall import Hall, Headers, application, as_named, bearer, problem, untouched
from tests.support.installation import Citizen
from tests.support.tokens import forged

# Putting a task back is how one keeps out of it.
DOORS = [door for door in OFFICERS_DOORS if not door[1].endswith("/release")]


@pytest.fixture(scope="module")
def own(hall: Hall) -> tuple[Citizen, Headers, str, str]:
    """Somebody who is both: their case, their log-in as a citizen, their case's number and task."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    task = hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number)
    return who, headers, number, str(task)


@pytest.mark.parametrize(("method", "path", "options"), DOORS)
def test_ones_own_file_is_closed_at_the_desk(
    hall: Hall, own: tuple[Citizen, Headers, str, str], method: str, path: str, options: dict[str, Any]
) -> None:
    who, _, _, task = own
    officer = hall.officer("both", person=as_named(who), supervises=["xihu-community"])
    check_closed(hall, task, officer, method, path, options, "decision.own-case")


@pytest.mark.parametrize(("method", "path", "options"), DOORS)
def test_every_file_is_closed_to_whom_nobody_knows(
    hall: Hall, open_task: str, method: str, path: str, options: dict[str, Any]
) -> None:
    officer = hall.officer("unlinked", linked=False, supervises=["xihu-community"])
    check_closed(hall, open_task, officer, method, path, options, "decision.officer-not-linked")


def test_ones_own_case_is_in_nobodys_own_queue(hall: Hall, own: tuple[Citizen, Headers, str, str]) -> None:
    who, _, number, _ = own

    def queued(subject: str, person: Citizen) -> bool:
        officer = hall.officer(subject, person=as_named(person), supervises=["xihu-community"])
        return number in {task["case"] for task in hall.queue(officer)}

    assert queued("somebody-else", hall.citizen()[0])
    assert not queued("both", who)


def check_closed(
    hall: Hall, task: str, officer: Headers, method: str, path: str, options: dict[str, Any], code: str
) -> None:
    # Some doors look first whether anybody has claimed it: then it is this officer.
    subject = hall.installation.value(
        "SELECT subject FROM intake.accounts WHERE kind = 'officer' ORDER BY changed_at DESC LIMIT 1"
    )
    if path.endswith("/decision"):
        hall.installation.change(
            "UPDATE approval.tasks SET state = 'claimed', officer = :o WHERE id = :t", o=subject, t=task
        )
    sent = {**options, "headers": {**officer, "If-Match": "*", "Accept": "application/json"}}
    if "data" in sent:
        sent["data"] = {**sent["data"], "if_match": "1"}
    with untouched(hall):
        answer = hall.client.request(method, path.format(task), **sent)
    hall.installation.change("UPDATE approval.tasks SET state = 'open', officer = NULL WHERE id = :t", t=task)
    if answer.status_code == 412:
        pytest.fail("the version was looked at first")
    assert problem(answer) == (403, code)


def test_the_citizen_reads_it(hall: Hall, own: tuple[Citizen, Headers, str, str]) -> None:
    _, headers, number, _ = own
    assert hall.case(headers, number)["number"] == number


@pytest.mark.parametrize("party", ["applicant", "agent"])
def test_neither_applicant_nor_agent_handles_it(hall: Hall, party: str) -> None:
    number, _ = under_review_by_agent(hall)
    person = str(hall.installation.value(f"SELECT {party} FROM intake.cases WHERE number = :n", n=number))
    task = hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number)
    officer = bearer(forged(hall, person_ref=person, departments=["xihu-community"]))
    for method, path in (("POST", "claim"), ("GET", "")):
        with untouched(hall):
            answer = hall.client.request(method, f"/api/v1/tasks/{task}/{path}".rstrip("/"), headers=officer)
        assert problem(answer) == (403, "decision.own-case")
    somebody_else = bearer(forged(hall, person_ref=str(UUID(int=7)), departments=["xihu-community"]))
    assert hall.client.get(f"/api/v1/tasks/{task}", headers=somebody_else).status_code == 200
