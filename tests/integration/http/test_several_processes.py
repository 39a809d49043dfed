"""Several web processes of one hall: whichever takes a request, it is the same hall."""

from collections.abc import Iterator
from itertools import cycle

import pytest
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from services.intake.access import MISSES
from tests.integration.http.test_session_ends import back_of, log_in_again, only
from tests.support.hall import (
    NOWHERE,
    Hall,
    app_of,
    application,
    hidden_field,
    keyed,
    problem,
    session,
)


@pytest.fixture(scope="module")
def another(hall: Hall) -> Iterator[TestClient]:
    """A second process of the same hall."""
    settings = app_of(hall).state.contexts["intake"].settings
    with TestClient(build(settings, SERVICES).public, "https://hall.test") as client:
        yield client


@pytest.fixture(autouse=True)
def no_cookies_there(another: TestClient) -> Iterator[None]:
    yield
    another.cookies.clear()


def test_a_log_in_at_one_is_good_at_the_other(hall: Hall, another: TestClient) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    assert another.get(f"/api/v1/cases/{number}", headers=headers).json()["number"] == number
    assert another.get(f"/cases/{number}", headers=session(headers)).status_code == 200


def test_a_request_sent_again_to_the_other_makes_nothing_new(hall: Hall, another: TestClient) -> None:
    who, headers = hall.citizen()
    sent, body = keyed(headers), application(who)
    answers = [client.post("/api/v1/cases", headers=sent, json=body) for client in (hall.client, another)]
    assert answers[0].status_code == answers[1].status_code == 201
    assert answers[0].json() == answers[1].json()


def test_a_log_out_at_one_holds_at_the_other_when_it_asks_next(hall: Hall, another: TestClient) -> None:
    _, headers = hall.citizen()
    hall.client.post("/logout", headers=session(headers))
    another.app.state.revocations.renew()  # type: ignore[attr-defined]
    assert problem(another.get("/api/v1/cases", headers=headers)) == (401, "auth.session-ended")


def test_a_form_that_one_keeps_is_shown_by_the_other(hall: Hall, another: TestClient) -> None:
    who, headers = hall.citizen()
    cookie = session(headers)
    form = {"csrf_token": hidden_field(hall, "/contacts", cookie), "kind": "email", "value": "b@example.org"}
    hall.client.post("/logout", headers=cookie)
    hall.client.cookies.clear()
    back = back_of(hall.client.post("/contacts", headers=cookie, data=form, follow_redirects=False))
    where, again = log_in_again(hall, "/dev/login/citizen", back, **only(who))
    assert 'value="b@example.org"' in another.get(where, headers=again).text


@pytest.mark.usefixtures("fresh_lookups")
def test_what_one_counts_the_other_counts_on(hall: Hall, another: TestClient) -> None:
    asked = {"number": NOWHERE, "query_code": "0" * 32}
    clients = cycle((hall.client, another))
    answers = [next(clients).post("/api/v1/cases/lookup", json=asked) for _ in range(MISSES)]
    assert {answer.status_code for answer in answers} == {404}
    for client in (hall.client, another):
        assert problem(client.post("/api/v1/cases/lookup", json=asked))[0] == 429
