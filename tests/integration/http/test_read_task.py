"""An officer looks at a task of their department; others are not there."""

from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from tests.support.hall import A_PDF, WITHOUT_LEASE, Hall, application, problem, same, untouched, upload

OFFICERS_DOORS = [
    ("GET", "/api/v1/tasks/{}", {}),
    ("POST", "/api/v1/tasks/{}/claim", {}),
    ("POST", "/api/v1/tasks/{}/release", {}),
    ("POST", "/api/v1/tasks/{}/decision", {"json": {"outcome": "approved"}}),
    ("POST", "/api/v1/tasks/{}/decision", {"json": {"outcome": "denied"}}),
    ("POST", "/api/v1/tasks/{}/assignment", {"json": {"reason": "x"}}),
    ("POST", "/desk/tasks/{}/assignment", {"data": {"reason": "x", "if_match": "1"}}),
    ("GET", "/desk/tasks/{}", {"headers": {"Accept": "text/html"}}),
    ("GET", f"/desk/tasks/{{}}/uploads/{UUID(int=1)}", {"headers": {"Accept": "text/html"}}),
    ("POST", "/desk/tasks/{}/claim", {}),
    ("POST", "/desk/tasks/{}/decision", {"data": {"outcome": "passed", "if_match": "1"}}),
]


@pytest.mark.parametrize(("method", "path", "options"), OFFICERS_DOORS)
def test_other_departments_tasks_are_not_there(
    hall: Hall, open_task: str, method: str, path: str, options: dict[str, Any]
) -> None:
    stranger = hall.officer("stranger", ["xihu-police"])
    sent = {**options, "headers": {**stranger, **options.get("headers", {})}}
    nowhere = str(uuid4())
    with untouched(hall):
        theirs = hall.client.request(method, path.format(open_task), **sent)
        nothing = hall.client.request(method, path.format(nowhere), **sent)
    assert nothing.status_code == 404
    same(theirs, nothing, but={open_task: nowhere})


def test_a_file_of_another_case_is_not_there_for_the_officer(hall: Hall) -> None:
    cases = []
    for _ in range(2):
        who, headers = hall.citizen(WITHOUT_LEASE)
        file = upload(hall, headers)
        body = {**application(who), "uploads": {"lease_contract": file}}
        cases.append((hall.apply(headers, body).json()["number"], file))
    hall.installation.pump()
    (number, own), (_, other) = cases
    task = str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))
    officer = hall.officer("officer-1")
    file = hall.client.get(f"/desk/tasks/{task}/uploads/{own}", headers=officer)
    assert file.content == A_PDF
    name = quote(f"{number}-房屋租赁合同.pdf")
    assert file.headers["content-disposition"] == (
        f"attachment; filename=\"{number}-lease_contract.pdf\"; filename*=UTF-8''{name}"
    )
    nothing = str(uuid4())
    with untouched(hall):
        answers = [
            hall.client.get(f"/desk/tasks/{task}/uploads/{name}", headers=officer)
            for name in (other, nothing)
        ]
    assert problem(answers[1]) == (404, "upload.not-found")
    same(*answers, but={})
