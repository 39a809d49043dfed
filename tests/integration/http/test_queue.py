"""What waits for an officer."""

import base64
from uuid import UUID

import pytest

from tests.support.hall import Hall, application, problem


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=%00",
        "cursor=" + base64.urlsafe_b64encode(b"2026-11-23T00:00:00|x").decode(),
        "cursor=" + base64.urlsafe_b64encode(f"2026-11-23T00:00:00|{UUID(int=1)}".encode()).decode(),
        "cursor=" + base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59|{UUID(int=1)}".encode()).decode(),
        "cursor=" + base64.urlsafe_b64encode(f"9999-12-31T23:59:59-23:59|{UUID(int=1)}".encode()).decode(),
        "limit=0",
        "limit=101",
        "limit=99999999999999999999999",
        "mine=maybe",
    ],
)
def test_a_strange_page_of_the_queue_is_refused(hall: Hall, query: str) -> None:
    answer = hall.client.get(f"/api/v1/tasks?{query}", headers=hall.officer("officer-1"))
    assert problem(answer)[0] in (400, 422)


def test_officers_see_their_departments_only(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    fresh_hall.apply(headers, application(who))
    fresh_hall.installation.pump()
    task = fresh_hall.client.get("/api/v1/tasks", headers=fresh_hall.officer("a")).json()["tasks"][0]
    stranger = fresh_hall.officer("b", ["somewhere-else"])
    assert fresh_hall.client.get("/api/v1/tasks", headers=stranger).json()["tasks"] == []
    assert fresh_hall.client.get(f"/api/v1/tasks/{task['id']}", headers=stranger).status_code == 404
