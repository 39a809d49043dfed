"""Steps are passed and cases decided, on what was seen and on what is valid that day."""

from typing import Any

import pytest

from tests.support.hall import (
    WITHOUT_LEASE,
    Hall,
    application,
    hidden_field,
    keyed,
    problem,
    session,
    stuck,
    untouched,
    upload,
)
from tests.support.installation import HELD


def test_a_certificate_that_ends_while_something_else_is_supplied(hall: Hall) -> None:
    """Nobody can be asked a second time, so the case goes on; but nothing is approved on what has ended."""
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    person = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE holder = :p AND type_code = 'id_card'",
        p=person,
    )
    body = {"uploads": {"lease_contract": upload(hall, headers)}}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=body).status_code == 202
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []
    hall.installation.work_task(number)
    hall.installation.pump()
    officer = hall.officer("officer-1")
    task = str(
        hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n AND decides", n=number)
    )
    claimed = hall.client.post(f"/api/v1/tasks/{task}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    answer = hall.client.post(f"/api/v1/tasks/{task}/decision", headers=seen, json={"outcome": "approved"})
    assert problem(answer) == (409, "decision.certificate-lost")
    assert answer.json()["materials"] == ["id_card"]


def test_a_strange_if_match_decides_nothing(hall: Hall, open_task: str) -> None:
    officer = hall.officer("officer-1")
    claimed = hall.client.post(f"/api/v1/tasks/{open_task}/claim", headers=officer)
    assert claimed.headers["etag"] == '"2"'
    own = [(name.encode(), value.encode()) for name, value in officer.items()]
    with untouched(hall):
        for tag in ('"1"', 'W/"2"', '"', "*" * 9000, '"1", "3"', "\xff", '"2'):
            answer = hall.client.post(
                f"/api/v1/tasks/{open_task}/decision",
                headers=[*own, (b"if-match", tag.encode("latin-1"))],
                json={"outcome": "passed"},
            )
            assert problem(answer) == (412, "resource.changed")


def test_nothing_is_asked_of_whom_the_state_knows_all_about(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    for outcome in ("passed", "approved"):
        task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        path = f"/api/v1/tasks/{task['id']}/decision"
        assert fresh_hall.client.post(path, headers=seen, json={"outcome": outcome}).status_code == 200
        fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert (case["outcome"], case["visits"], case["asked"]) == ("approved", 0, [])
    assert {material["source"] for material in case["materials"]} == {"certificate"}
    assert case["closed_at"] is not None
    assert case["received_at"] is not None
    assert case["accepted_at"] is not None


def test_a_refusal_gives_its_reasons_and_what_can_be_done(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    for decision in ({"outcome": "passed"}, {"outcome": "denied", "reason": "居住未满半年"}):
        task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/decision", headers=seen, json=decision)
        fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert case["outcome"] == "denied"
    assert [reason["reason"] for reason in case["reasons"]] == ["居住未满半年"]
    assert case["remedies"]["reconsideration_days"] == 60


def test_a_decision_needs_the_version_that_was_seen(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    fresh_hall.apply(headers, application(who))
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    path = f"/api/v1/tasks/{task['id']}/decision"
    assert fresh_hall.client.post(path, headers=officer, json={"outcome": "passed"}).status_code == 428
    old = {**officer, "If-Match": '"1"'}
    assert fresh_hall.client.post(path, headers=old, json={"outcome": "passed"}).status_code == 412


def test_nothing_is_approved_on_a_certificate_that_was_revoked_meanwhile(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    fresh_hall.installation.work_task(number)
    fresh_hall.installation.pump()
    fresh_hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE type_code = 'lease_record'"
    )
    officer = fresh_hall.officer("officer-1")
    task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    path = f"/api/v1/tasks/{task['id']}/decision"
    answer = fresh_hall.client.post(path, headers=seen, json={"outcome": "approved"})
    assert (answer.status_code, answer.json()["code"]) == (409, "decision.certificate-lost")
    # The officer's look on that day is a use like the first.
    uses = fresh_hall.installation.rows(
        'SELECT u.reader, u.purpose, u."grant" = g.id AS granted FROM materials.use_records u '
        "JOIN materials.use_grants g USING (case_no) WHERE case_no = :n AND reader <> 'materials.match'",
        n=number,
    )
    assert [tuple(use) for use in uses] == [("officer-1", "deciding the case", True)] * len(HELD)


def decide_on_the_page(hall: Hall, task: str, officer: dict[str, str], **typed: str) -> Any:
    """What the browser sends, with a line end as browsers send it, and what comes back."""
    cookie = session(officer)
    hall.client.post(f"/api/v1/tasks/{task}/claim", headers=officer)
    path = f"/desk/tasks/{task}"
    token = hidden_field(hall, path, cookie)
    version = str(hall.installation.value("SELECT version FROM approval.tasks WHERE id = :t", t=task))
    return hall.client.post(
        f"{path}/decision",
        headers={**cookie, "Accept": "text/html"},
        data={"csrf_token": token, "if_match": version, **typed},
        follow_redirects=False,
    )


@pytest.fixture
def deciding_task(hall: Hall) -> str:
    """The second step of a case, which decides."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    hall.installation.work_task(number)
    hall.installation.pump()
    return str(
        hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n AND decides", n=number)
    )


def test_a_line_end_counts_once(hall: Hall, deciding_task: str) -> None:
    lines = "\r\n".join(["甲" * 38] * 51)
    assert len(lines.replace("\r\n", "\n")) < 2000 < len(lines) + 2
    answer = decide_on_the_page(
        hall, deciding_task, hall.officer("officer-1"), outcome="denied", reason="乙" * 10 + "\r\n" + lines
    )
    assert answer.status_code == 303, answer.text


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ({"outcome": "denied", "reason": "长" * 2001}, "reason"),
        ({"outcome": "denied", "reason": "长" * 20_000}, "reason"),
        ({"outcome": "", "reason": "写了很久的理由"}, "outcome-approved"),
        ({"reason": "写了很久的理由"}, "outcome-approved"),
        ({"outcome": "denied", "reason": "许\u202e可"}, "reason"),
        ({"outcome": "denied", "reason": "\u200b\u3164"}, "reason"),
    ],
)
def test_no_refused_page_loses_what_was_typed(
    hall: Hall, deciding_task: str, typed: dict[str, str], code: str
) -> None:
    officer = hall.officer("officer-1")
    answer = decide_on_the_page(hall, deciding_task, officer, **typed)
    assert answer.status_code == 422
    assert f'href="#{code}"' in answer.text
    assert typed["reason"] in answer.text


def test_whoever_comes_second_keeps_what_they_wrote(hall: Hall, deciding_task: str) -> None:
    first, second = hall.officer("officer-1"), hall.officer("officer-2")
    hall.client.post(f"/api/v1/tasks/{deciding_task}/claim", headers=first)
    answer = decide_on_the_page(hall, deciding_task, second, outcome="denied", reason="第二个人的理由")
    assert answer.status_code == 409
    assert "第二个人的理由" in answer.text
