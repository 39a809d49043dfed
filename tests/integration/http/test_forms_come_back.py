"""No form of any page loses what was typed when a session ends, or somebody has written down why it may."""

import re
from pathlib import Path
from uuid import uuid4

from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

from shared.auth.csrf import csrf_token_for
from shared.http.doors import Door
from tests.integration.http.test_session_ends import back_of, log_in_again, only
from tests.integration.http.test_withdraw_consent import at_counter
from tests.support.hall import NOWHERE, WITHOUT_LEASE, Hall, app_of, hidden_field, session
from tests.support.hall import application as complete

ROOT = Path(__file__).parents[3]
NOBODY = "it asks for no log-in, so that no session can end"
WHY_NOT = {
    "/lookup": NOBODY,
    "/stop": NOBODY,
    "/preferences": NOBODY,
    "/dev/login": NOBODY,
    "/dev/login/citizen": NOBODY,
    "/dev/login/operator": NOBODY,
    "/logout": "who leaves has typed nothing, and a session that is over may leave too",
}
"""The forms that do not come back. Whoever adds one says why."""


def forms(hall: Hall) -> dict[str, Door]:
    """Every door of a page that a form is sent to, by its path."""
    found = {}
    for context in iter_route_contexts(app_of(hall).routes):
        door = context.original_route
        if isinstance(door, Door) and "POST" in (context.methods or ()) and not context.include_in_schema:
            found[str(context.path)] = door
    return {path: door for path, door in found.items() if not path.startswith("/dev/tokens")}


def actions() -> set[str]:
    """Where the forms of all page templates lead, with something in place of what is filled in."""
    found = set()
    for template in (*ROOT.glob("services/*/pages/*.html"), *ROOT.glob("shared/http/pages/*.html")):
        for action in re.findall(r'<form[^>]*\baction="([^"]+)"', template.read_text("utf-8")):
            found.add(re.sub(r"\{\{.*?\}\}", str(uuid4()), action))
    return found


def test_every_form_of_every_page_comes_back_or_says_why_not(hall: Hall) -> None:
    found = forms(hall)
    patterns = [compile_path(path)[0] for path in found]
    strange = [action for action in actions() if not any(one.match(action) for one in patterns)]
    assert strange == [], "forms that lead to no door"
    assert {path for path, door in found.items() if door.comes_back is None} == set(WHY_NOT)


def test_every_page_that_a_form_comes_back_to_fills_it_in(hall: Hall) -> None:
    pages = {
        str(context.path): context.original_route
        for context in iter_route_contexts(app_of(hall).routes)
        if "GET" in (context.methods or ())
    }
    for path, door in forms(hall).items():
        if door.comes_back is not None:
            page = pages[door.comes_back.page]
            assert isinstance(page, Door), path
            asked = {field.name for field in page.dependant.query_params}
            assert "held" in asked, f"{path}: {door.comes_back.page} does not ask for what is kept"


def test_what_is_sent_over_the_end_of_a_session_is_kept_by_each(hall: Hall) -> None:
    for path, door in forms(hall).items():
        if door.comes_back is None:
            continue
        who, citizen = hall.citizen(WITHOUT_LEASE)
        number = NOWHERE
        if path == "/cases/{number}/supply":
            # Where no file is asked for, none is kept.
            number = hall.apply(citizen, complete(who)).json()["number"]
            hall.installation.pump()
        headers = hall.officer("officer-1") if path.startswith("/desk") else citizen
        if "/counter" in path:
            headers = at_counter(hall, who)
        cookie = session(headers)
        hall.client.post("/logout", headers=cookie)
        hall.client.cookies.clear()
        filled = re.sub(r"\{\w+\}", str(uuid4()), path.replace("{number}", number))
        form = {"csrf_token": csrf_token_for(cookie["Cookie"].partition("=")[2]), "typed": "x"}
        back = back_of(hall.client.post(filled, headers=cookie, data=form, follow_redirects=False))
        assert compile_path(door.comes_back.page)[0].match(back.partition("?")[0]), path


def test_a_typed_contact_and_a_typed_code_are_there_after_log_in(hall: Hall) -> None:
    who, headers = hall.citizen()
    cookie, phone = session(headers), "13900001111"
    field = hidden_field(hall, "/contacts", cookie)
    form = {"csrf_token": field, "idempotency_key": str(uuid4()), "kind": "email", "value": "a@example.org"}
    hall.client.post("/logout", headers=cookie)
    hall.client.cookies.clear()
    back = back_of(hall.client.post("/contacts", headers=cookie, data=form, follow_redirects=False))
    where, again = log_in_again(hall, "/dev/login/citizen", back, **only(who))
    page = hall.client.get(where, headers=again).text
    assert re.search(r'id="kind-email"[^>]* checked', page)
    assert re.search(r'id="value"[^>]*value="a@example.org"', page)
    assert 'role="status"' in page
    form = {"csrf_token": hidden_field(hall, where, again), "kind": "phone", "value": phone}
    sent = hall.client.post(
        "/contacts", headers=again, data={**form, "idempotency_key": str(uuid4())}, follow_redirects=False
    )
    there = sent.headers["location"]
    typed = {"csrf_token": hidden_field(hall, there, again), "code": "271828"}
    hall.client.post("/logout", headers=again)
    hall.client.cookies.clear()
    back = back_of(
        hall.client.post(f"{there}/verification", headers=again, data=typed, follow_redirects=False)
    )
    assert hall.installation.value("SELECT max(tries) FROM intake.one_time_codes") == 0
    where, last = log_in_again(hall, "/dev/login/citizen", back, **only(who))
    assert where.partition("?")[0] == there
    assert re.search(r'id="code"[^>]*value="271828"', hall.client.get(where, headers=last).text)
