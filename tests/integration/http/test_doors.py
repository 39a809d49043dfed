"""Every door is for one kind of people."""

import re
from uuid import uuid4

import httpx

from tests.support.hall import NOWHERE, Hall, Headers, app_of, doors, keyed, problem, session

OPEN_DOORS = {
    ("POST", "/api/v1/cases/lookup"),
    ("GET", "/api/v1/matters/{code}"),
    ("GET", "/"),
    ("GET", "/lookup"),
    ("POST", "/lookup"),
    ("POST", "/logout"),
    ("POST", "/preferences"),
    ("GET", "/problems"),
    ("GET", "/problems/{code}"),
    ("GET", "/healthz"),
}
"""What needs no log-in, besides the development log-in itself. Whoever adds one says so here."""


def asked_at(hall: Hall, method: str, path: str, headers: Headers) -> httpx.Response:
    """Knock, with something in every place of the path."""
    filled = re.sub(r"\{(\w+)\}", lambda m: NOWHERE if m[1] in ("number", "code") else str(uuid4()), path)
    answer: httpx.Response = hall.client.request(method, filled, headers=headers, follow_redirects=False)
    return answer


def test_every_door_is_for_one_kind(hall: Hall) -> None:
    """Nobody, citizens and officers at each door there is: one of them may be let in at most."""
    _, citizen = hall.citizen()
    people = {"nobody": {}, "citizen": citizen, "officer": hall.officer("officer-1")}
    found = doors(app_of(hall))
    assert len(found) > 25
    wrong = []
    for method, path in found:
        refused = {
            who: answer.status_code
            for who, headers in people.items()
            if (answer := asked_at(hall, method, path, keyed(headers))).status_code in (401, 403)
        }
        expected = {"nobody": 401}
        if path.startswith(("/desk", "/api/v1/tasks")):
            expected |= {"citizen": 403}
        else:
            expected |= {"officer": 403}
        if refused != ({} if (method, path) in OPEN_DOORS else expected):
            wrong.append((method, path, refused))
    assert wrong == []


def test_what_is_internal_is_not_there_on_the_public_address(hall: Hall) -> None:
    _, citizen = hall.citizen()
    internal = doors(hall.internal.app)  # type: ignore[arg-type]
    assert {"/readyz", "/metrics"} < {path for _, path in internal}
    for method, path in internal:
        if path != "/healthz":
            for headers in ({}, citizen, hall.officer("officer-1")):
                assert problem(asked_at(hall, method, path, headers)) == (404, "resource.not-found"), path


def test_on_the_internal_address_people_are_nobody(hall: Hall) -> None:
    _, citizen = hall.citizen()
    questions = [path for method, path in doors(hall.internal.app) if method == "POST"]  # type: ignore[arg-type]
    assert len(questions) > 5
    for path in questions:
        for headers in ({}, citizen, hall.officer("officer-1"), session(citizen)):
            assert hall.internal.post(path, json={}, headers=headers).status_code == 401, path
