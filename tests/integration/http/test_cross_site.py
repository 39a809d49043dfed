"""Forms of other sites, and cookies without a form of ours, change nothing."""

import json
import re
from uuid import uuid4

import pytest

from tests.support.agents import GRANNY
from tests.support.hall import (
    FORM,
    Hall,
    Headers,
    app_of,
    application,
    doors,
    hidden_field,
    keyed,
    problem,
    session,
    untouched,
)
from tests.support.installation import Citizen

ELSEWHERE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}


def page_doors(hall: Hall) -> list[str]:
    """Every form of a page."""
    return [path for method, path in doors(app_of(hall)) if method == "POST" and not path.startswith("/api/")]


def test_no_form_of_another_site_is_taken(hall: Hall) -> None:
    _, citizen = hall.citizen()
    officer = hall.officer("officer-1")
    taken = []
    with untouched(hall):
        for path in [*page_doors(hall), "/dev/login", "/dev/login/citizen"]:
            cookie = session(officer if path.startswith("/desk") else citizen)
            name = re.sub(r"\{\w+\}", str(uuid4()), path)
            data = {"person": "officer-1", "name": "测试", "id_number": GRANNY["id_number"]}
            answer = hall.client.post(
                name, headers={**cookie, **ELSEWHERE}, data=data, follow_redirects=False
            )
            if answer.status_code != 403 or answer.json()["code"] != "auth.csrf-failed":
                taken.append((path, answer.status_code))
            assert "set-cookie" not in answer.headers
    assert len(page_doors(hall)) > 5
    assert taken == []


@pytest.mark.parametrize("kind", ["missing", "wrong", "another session's", "in the address", "empty"])
def test_a_form_needs_the_field_of_its_own_session(hall: Hall, open_task: str, kind: str) -> None:
    officer = session(hall.officer("officer-1"))
    other = session(hall.officer("officer-2"))
    path = f"/desk/tasks/{open_task}"
    own = hidden_field(hall, path, officer)
    sent = {
        "missing": {},
        "wrong": {"csrf_token": "0" * 64},
        "another session's": {"csrf_token": hidden_field(hall, path, other)},
        "in the address": {},
        "empty": {"csrf_token": ""},
    }[kind]
    query = f"?csrf_token={own}" if kind == "in the address" else ""
    with untouched(hall):
        answer = hall.client.post(f"{path}/claim{query}", headers=officer, data=sent)
        assert problem(answer) == (403, "auth.csrf-failed")
    done = hall.client.post(
        f"{path}/claim", headers=officer, data={"csrf_token": own}, follow_redirects=False
    )
    assert done.status_code == 303


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", FORM, None])
def test_a_cookie_alone_sends_nothing_to_the_api(
    hall: Hall, anybody: tuple[Citizen, Headers], media_type: str | None
) -> None:
    who, headers = anybody
    sent = {**keyed(session(headers)), **({"Content-Type": media_type} if media_type else {})}
    with untouched(hall):
        answer = hall.client.post(
            "/api/v1/cases", headers=sent, content=json.dumps(application(who)).encode()
        )
        assert problem(answer)[0] in (403, 415)
