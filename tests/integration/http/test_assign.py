"""A supervisor hands a task to somebody else: an officer who left blocks nobody."""

from uuid import uuid4

import pytest

from services.intake.identity.accounts import close_account
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.support.hall import Hall, Headers, application, problem, session, untouched

HERE = ["xihu-community"]


@pytest.fixture
def blocked(hall: Hall) -> str:
    """A task that somebody claimed and then left."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    task = str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))
    gone = hall.officer("gone", HERE)
    assert hall.client.post(f"/api/v1/tasks/{task}/claim", headers=gone).status_code == 200
    with unit_of(hall.installation.context("intake"), "test.leave") as unit:
        close_account(unit, PrincipalKind.OFFICER, "gone", "an administrator")
    return task


@pytest.fixture
def boss(hall: Hall) -> Headers:
    return hall.officer("boss", ["elsewhere"], supervises=HERE)


def assign(hall: Hall, headers: Headers, task: str, **body: object) -> tuple[int, str]:
    sent = {**headers, "If-Match": "*"}
    answer = hall.client.post(f"/api/v1/tasks/{task}/assignment", headers=sent, json=body)
    if answer.status_code != 200:
        return problem(answer)
    return 200, str(answer.json()["officer"])


def test_a_colleague_goes_on(hall: Hall, blocked: str, boss: Headers) -> None:
    colleague = hall.officer("colleague", HERE)
    assert assign(hall, boss, blocked, to="colleague", reason="已离职") == (200, "colleague")
    seen = {**colleague, "If-Match": "*"}
    path = f"/api/v1/tasks/{blocked}/decision"
    assert hall.client.post(path, headers=seen, json={"outcome": "passed"}).status_code == 200


def test_or_the_queue(hall: Hall, blocked: str, boss: Headers) -> None:
    assert assign(hall, boss, blocked, reason="已离职") == (200, "None")
    assert blocked in {task["id"] for task in hall.queue(boss)}


def test_a_supervisor_looks_and_hands_out_and_does_not_decide(
    hall: Hall, blocked: str, boss: Headers
) -> None:
    assert hall.client.get(f"/api/v1/tasks/{blocked}", headers=boss).status_code == 200
    for act in ("claim", "release"):
        answer = hall.client.post(f"/api/v1/tasks/{blocked}/{act}", headers=boss)
        assert problem(answer) == (404, "task.not-found")


@pytest.mark.parametrize("to", ["gone", "nobody-here", "unlinked-one", "of-another-department"])
def test_nobody_gets_it_who_could_not_claim_it(hall: Hall, blocked: str, boss: Headers, to: str) -> None:
    hall.officer("unlinked-one", HERE, linked=False)
    hall.officer("of-another-department", ["xihu-police"])
    with untouched(hall):
        assert assign(hall, boss, blocked, to=to, reason="已离职") == (422, "task.colleague-wrong")


def test_colleagues_of_the_department_may_not_and_for_others_it_is_not_there(
    hall: Hall, blocked: str
) -> None:
    colleague, stranger = hall.officer("colleague", HERE), hall.officer("stranger", ["xihu-police"])
    with untouched(hall):
        assert assign(hall, colleague, blocked, reason="x") == (403, "task.not-supervisor")
        assert assign(hall, stranger, blocked, reason="x") == (404, "task.not-found")
        assert assign(hall, stranger, str(uuid4()), reason="x") == (404, "task.not-found")


def test_without_a_reason_or_a_version_nothing_happens(hall: Hall, blocked: str, boss: Headers) -> None:
    path = f"/api/v1/tasks/{blocked}/assignment"
    with untouched(hall):
        assert assign(hall, boss, blocked, reason="  ")[0] == 422
        assert problem(hall.client.post(path, headers=boss, json={"reason": "x"}))[0] == 428
        stale = {**boss, "If-Match": '"1"'}
        assert problem(hall.client.post(path, headers=stale, json={"reason": "x"}))[0] == 412


def test_by_the_page(hall: Hall, blocked: str, boss: Headers) -> None:
    hall.officer("colleague", HERE)
    browser = session(boss)
    page = hall.client.get(f"/desk/tasks/{blocked}", headers=browser)
    assert 'action="/desk/tasks/' + blocked + '/assignment"' in page.text
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    data = {"csrf_token": token, "if_match": "2", "to": "nobody-here", "reason": "已离职<b>"}
    path = f"/desk/tasks/{blocked}/assignment"
    refused = hall.client.post(path, headers=browser, data=data, follow_redirects=False)
    assert refused.status_code == 422
    assert "nobody-here" in refused.text
    assert "已离职&lt;b&gt;" in refused.text
    done = hall.client.post(path, headers=browser, data=data | {"to": "colleague"}, follow_redirects=False)
    assert done.status_code == 303
    line = hall.client.get(f"/api/v1/tasks/{blocked}", headers=boss).json()
    assert (line["state"], line["officer"]) == ("claimed", "colleague")
