"""Every door says for which kinds of people it is."""

import re
from uuid import uuid4

import httpx

from shared.auth.principal import LOG_IN_KINDS
from tests.support.hall import NOWHERE, Hall, Headers, app_of, as_named, doors, keyed, problem, session

OPEN_DOORS = {
    ("POST", "/api/v1/cases/lookup"),
    ("POST", "/api/v1/notices/stop"),
    ("POST", "/api/v1/token"),
    ("GET", "/api/v1/matters/{code}"),
    ("GET", "/"),
    ("GET", "/lookup"),
    ("POST", "/lookup"),
    ("GET", "/stop"),
    ("POST", "/stop"),
    ("GET", "/login"),
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


CITIZENS_OWN = {
    ("GET", "/api/v1/messages"),
    ("GET", "/api/v1/uploads/{upload_id}"),
    ("GET", "/api/v1/consents"),
    ("GET", "/api/v1/consents/given"),
    ("POST", "/api/v1/cases/{number}/consent"),
    ("POST", "/api/v1/cases/{number}/consent/withdrawal"),
    ("POST", "/api/v1/cases/{number}/consent/renewal"),
    ("GET", "/consents"),
    ("GET", "/cases/{number}/consent"),
    ("POST", "/cases/{number}/consent"),
    ("POST", "/cases/{number}/consent/withdrawal"),
    ("POST", "/cases/{number}/consent/renewal"),
}
"""What nobody reads or says for them, also no operator."""


def who_may(method: str, path: str) -> set[str]:
    """Those who are not refused for what they are."""
    if path.startswith(("/desk", "/api/v1/tasks")):
        return {"officer"}
    if (method, path) == ("POST", "/api/v1/cases"):
        return {"citizen", "operator", "client"}
    if path.endswith(("/proxy-consents", "/counter-withdrawals")) or "/counter" in path:
        return {"operator"}
    if (method, path) in CITIZENS_OWN:
        return {"citizen"}
    return {"citizen", "operator"}


def everybody(hall: Hall) -> dict[str, Headers]:
    """Somebody of each kind that logs in, and nobody."""
    who, citizen = hall.citizen()
    person = as_named(who)
    found = {
        "citizen": citizen,
        "officer": hall.officer("officer-1"),
        "clerk": hall.log_in("clerk", subject="clerk-1", organisation="91330106MA27XXXX06", person=person),
        "operator": hall.log_in("operator", subject="desk-1", channels=["counter"], acting_for=person),
        "client": hall.log_in("client", subject="kiosk-1", channels=["kiosk"]),
    }
    assert set(found) == {kind.value for kind in LOG_IN_KINDS}
    idle = hall.log_in("operator", subject="desk-2", channels=["counter"])
    return {**found, "an operator who serves nobody": idle, "nobody": {}}


def test_every_door_says_for_whom_it_is(hall: Hall) -> None:
    """Everybody at each door there is: who is not of its kinds is refused."""
    people = everybody(hall)
    found = doors(app_of(hall))
    assert len(found) > 25
    wrong = []
    for method, path in found:
        refused = {
            who: answer.status_code
            for who, headers in people.items()
            if (answer := asked_at(hall, method, path, keyed(headers))).status_code in (401, 403)
        }
        let_in = set(people) if (method, path) in OPEN_DOORS else who_may(method, path)
        expected = {who: 401 if who == "nobody" else 403 for who in set(people) - let_in}
        if refused != expected:
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
