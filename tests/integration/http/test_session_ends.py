"""A session that ends while a form is open leads through log-in back to it, with what was filled in."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.intake.identity.sessions import Why, end_session
from services.materials.uploads import MOST_UNTAKEN
from shared.auth.csrf import csrf_token_for
from shared.bus.unit import unit_of
from tests.support.hall import (
    A_PDF,
    NOWHERE,
    WITHOUT_LEASE,
    Hall,
    Headers,
    app_of,
    as_named,
    hidden_field,
    session,
    untouched,
)
from tests.support.hall import application as complete
from tests.support.installation import Citizen

REASON = "实地核查时未见申请人在此居住。\n请补充说明。"
BACK = "onestop_back"


@pytest.fixture
def task(hall: Hall) -> tuple[str, Headers]:
    """A task that the development log-in's first officer has claimed, and their session."""
    who, headers = hall.citizen()
    number = hall.apply(headers, complete(who)).json()["number"]
    hall.installation.pump()
    found = str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))
    officer = hall.officer("officer-1")
    assert hall.client.post(f"/api/v1/tasks/{found}/claim", headers=officer).status_code == 200
    return found, session(officer)


def end(hall: Hall, cookie: Headers) -> None:
    """Somebody ends the session, from elsewhere."""
    left = hall.client.post("/logout", headers=cookie, follow_redirects=False)
    assert left.status_code == 303
    hall.client.cookies.clear()


def back_of(answer: Any) -> str:
    """Where log-in will lead to."""
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    found = re.search(rf'{BACK}="?([^";]+)', answer.headers["set-cookie"])
    assert found is not None
    return found[1]


def place(back: str) -> str:
    """The page that log-in leads its person to."""
    return back.partition("&for=")[0]


def log_in_again(hall: Hall, path: str, back: str, **form: str) -> tuple[str, Headers]:
    answer = hall.client.post(path, data=form, headers={"Cookie": f"{BACK}={back}"}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    token = re.search(r"onestop_session=([^;]+)", answer.headers["set-cookie"])
    assert token is not None
    hall.client.cookies.clear()
    return answer.headers["location"], {"Cookie": f"onestop_session={token[1]}"}


def decision(hall: Hall, task: str, cookie: Headers, csrf: str | None = None) -> Any:
    token = csrf if csrf is not None else hidden_field(hall, f"/desk/tasks/{task}", cookie)
    form = {"csrf_token": token, "if_match": "2", "outcome": "passed", "reason": REASON}
    return lambda: hall.client.post(
        f"/desk/tasks/{task}/decision", headers=cookie, data=form, follow_redirects=False
    )


def test_what_an_officer_wrote_is_there_after_log_in(hall: Hall, task: tuple[str, Headers]) -> None:
    which, cookie = task
    send = decision(hall, which, cookie)
    end(hall, cookie)
    back = back_of(send())
    assert hall.installation.value("SELECT state FROM approval.tasks WHERE id = :i", i=which) == "claimed"
    where, again = log_in_again(hall, "/dev/login", back, person="officer-1")
    assert where == place(back)
    page = hall.client.get(where, headers=again).text
    assert REASON in page
    assert 'role="status"' in page
    form = {
        "csrf_token": hidden_field(hall, where, again),
        "if_match": re.findall(r'name="if_match" value="(\d+)"', page)[0],
        "outcome": "passed",
        "reason": REASON,
    }
    done = hall.client.post(f"/desk/tasks/{which}/decision", headers=again, data=form, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/desk")


def test_nobody_else_sees_it(hall: Hall, task: tuple[str, Headers]) -> None:
    which, cookie = task
    send = decision(hall, which, cookie)
    end(hall, cookie)
    back = back_of(send())
    other = session(hall.officer("officer-2"))
    page = hall.client.get(place(back), headers=other)
    assert (page.status_code, REASON in page.text) == (200, False)
    row = hall.installation.rows("SELECT sealed FROM approval.held_forms ORDER BY held_at DESC LIMIT 1")[0]
    assert REASON.encode() not in bytes(row.sealed)


def test_only_a_page_of_that_session_is_kept(hall: Hall, task: tuple[str, Headers]) -> None:
    which, cookie = task
    own = decision(hall, which, cookie)
    sends = [
        decision(hall, which, cookie, "0" * 64),
        decision(hall, which, {**cookie, "Origin": "https://x.test"}),
    ]
    end(hall, cookie)
    with untouched(hall):
        assert [send().status_code for send in sends] == [401, 403]
        bare = hall.client.post(f"/desk/tasks/{which}/decision", data={"reason": REASON})
        assert bare.status_code == 401
    assert [own().status_code for _ in range(5)] == [303, 303, 303, 401, 401]


@pytest.mark.parametrize("why", [why for why in Why if why is not Why.LOGGED_OUT])
def test_a_session_that_was_ended_for_its_owner_keeps_nothing(
    hall: Hall, task: tuple[str, Headers], why: Why
) -> None:
    which, cookie = task
    send = decision(hall, which, cookie)
    session_id = hall.installation.value("SELECT id FROM intake.sessions ORDER BY began_at DESC LIMIT 1")
    with unit_of(hall.installation.context("intake"), "test.end") as unit:
        assert len(end_session(unit, session_id, "somebody", why)) == 1
    app_of(hall).state.revocations.renew()
    end(hall, cookie)
    with untouched(hall):
        refused = send()
    assert (refused.status_code, BACK in refused.headers.get("set-cookie", "")) == (401, False)


def ended(hall: Hall, headers: Headers) -> tuple[Headers, dict[str, str]]:
    """The cookie of a session that was logged out, and the field that whoever has the cookie computes."""
    cookie = session(headers)
    end(hall, cookie)
    return cookie, {"csrf_token": csrf_token_for(cookie["Cookie"].partition("=")[2])}


def many_files(most: int) -> dict[str, tuple[str, bytes, str]]:
    return {f"file.f{n}": ("f.pdf", A_PDF, "application/pdf") for n in range(most)}


@pytest.mark.parametrize("which", ["nobody's", "somebody else's", "complete"])
def test_no_file_is_kept_for_a_case_that_asks_its_sender_for_none(hall: Hall, which: str) -> None:
    who, headers = hall.citizen()
    other, others = hall.citizen(WITHOUT_LEASE)
    numbers = {
        "nobody's": NOWHERE,
        "somebody else's": hall.apply(others, complete(other)).json()["number"],
        "complete": hall.apply(headers, complete(who)).json()["number"],
    }
    hall.installation.pump()
    cookie, form = ended(hall, headers)
    with untouched(hall):
        refused = hall.client.post(
            f"/cases/{numbers[which]}/supply", headers=cookie, data=form, files=many_files(2)
        )
    assert refused.status_code == 401


def test_an_officer_s_old_cookie_keeps_nothing_at_a_citizen_s_door(hall: Hall) -> None:
    cookie, form = ended(hall, hall.officer("officer-1"))
    with untouched(hall):
        refused = hall.client.post("/contacts", headers=cookie, data={**form, "value": "x"})
    assert refused.status_code == 401


def test_kept_files_leave_their_owner_half_of_what_they_may_keep(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, complete(who)).json()["number"]
    hall.installation.pump()
    cookie, form = ended(hall, headers)
    for _ in range(2):
        sent = hall.client.post(
            f"/cases/{number}/supply",
            headers=cookie,
            data=form,
            files=many_files(MOST_UNTAKEN // 2 + 1),
            follow_redirects=False,
        )
        assert place(back_of(sent)).startswith(f"/cases/{number}?held=")
    again = hall.log_in_as(who)
    kept = hall.installation.value(
        "SELECT count(*) FROM materials.uploads WHERE case_no IS NULL AND owner = "
        "(SELECT person_ref FROM intake.sessions ORDER BY began_at DESC LIMIT 1)"
    )
    assert kept == MOST_UNTAKEN // 2
    fresh = hall.client.post(
        "/api/v1/uploads",
        headers={**again, "Idempotency-Key": "b" * 20},
        files={"file": ("f.pdf", A_PDF)},
    )
    assert fresh.status_code == 201


def test_who_logs_in_next_is_not_led_to_what_somebody_else_had_open(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    next_one, _ = hall.citizen()
    number = hall.apply(headers, complete(who)).json()["number"]
    hall.installation.pump()
    cookie, form = ended(hall, headers)
    sent = hall.client.post(
        f"/cases/{number}/supply", headers=cookie, data=form, files=many_files(1), follow_redirects=False
    )
    back = back_of(sent)
    assert log_in_again(hall, "/dev/login/citizen", back, **only(next_one))[0] == "/cases"
    assert log_in_again(hall, "/dev/login/citizen", place(back), **only(who))[0] == "/cases"
    assert log_in_again(hall, "/dev/login/citizen", back, **only(who))[0] == place(back)


def test_files_are_kept_too(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, complete(who)).json()["number"]
    hall.installation.pump()
    cookie, path = session(headers), f"/cases/{number}"
    fields = {"csrf_token": hidden_field(hall, path, cookie), "idempotency_key": "k" * 36}
    chosen = {**fields, "as.residence_proof": "lease_contract"}
    file = {"file.residence_proof": ("租赁合同.pdf", A_PDF, "application/pdf")}
    end(hall, cookie)
    sent = hall.client.post(f"{path}/supply", headers=cookie, data=chosen, files=file, follow_redirects=False)
    back = back_of(sent)
    where, again = log_in_again(hall, "/dev/login/citizen", back, **only(who))
    assert where == place(back)
    page = hall.client.get(where, headers=again).text
    assert "租赁合同.pdf" in page
    (upload,) = re.findall(r'name="kept.residence_proof" value="([^"]+)"', page)
    form = {
        **chosen,
        "csrf_token": hidden_field(hall, where, again),
        "kept.residence_proof": upload,
    }
    done = hall.client.post(
        f"{path}/supply", headers=again, data=form, files={"none": ("", b"")}, follow_redirects=False
    )
    assert (done.status_code, urlsplit(done.headers["location"]).path) == (303, path)
    hall.installation.pump()
    assert hall.case(hall.log_in_as(who), number)["state"] == "under_review"


def browse(hall: Hall, path: str, **form: str) -> Any:
    """A form of our pages, sent with all cookies of this test's browser."""
    return hall.client.post(path, data=form, follow_redirects=False)


def be_officer(hall: Hall, person: str = "officer-1") -> None:
    assert browse(hall, "/dev/login", person=person).status_code == 303


def written(hall: Hall, task: str) -> dict[str, str]:
    """The form of a task, open in a tab, with what an officer has typed into it."""
    field = hidden_field(hall, f"/desk/tasks/{task}", {})
    return {"csrf_token": field, "if_match": "2", "outcome": "passed", "reason": REASON}


@pytest.mark.parametrize("times", [1, 3])
def test_who_logs_out_and_in_again_in_another_tab_finds_what_they_wrote(
    hall: Hall, task: tuple[str, Headers], times: int
) -> None:
    which, _ = task
    be_officer(hall)
    form = written(hall, which)
    for _ in range(times):
        browse(hall, "/logout")
        be_officer(hall)
    sent = browse(hall, f"/desk/tasks/{which}/decision", **form)
    where = sent.headers["location"]
    assert (sent.status_code, where.partition("?held=")[0]) == (303, f"/desk/tasks/{which}")
    assert hall.installation.value("SELECT state FROM approval.tasks WHERE id = :i", i=which) == "claimed"
    page = hall.client.get(where).text
    assert REASON in page
    assert 'role="status"' in page
    form = {**form, "csrf_token": hidden_field(hall, where, {})}
    assert browse(hall, f"/desk/tasks/{which}/decision", **form).headers["location"] == "/desk"


def test_who_only_logged_out_in_another_tab_is_led_through_log_in(
    hall: Hall, task: tuple[str, Headers]
) -> None:
    which, _ = task
    be_officer(hall)
    form = written(hall, which)
    browse(hall, "/logout")
    sent = browse(hall, f"/desk/tasks/{which}/decision", **form)
    back = back_of(sent)
    assert browse(hall, "/dev/login", person="officer-1").headers["location"] == place(back)
    assert REASON in hall.client.get(place(back)).text


def test_who_logged_in_after_somebody_else_sees_nothing_of_theirs(
    hall: Hall, task: tuple[str, Headers]
) -> None:
    which, _ = task
    be_officer(hall)
    form = written(hall, which)
    browse(hall, "/logout")
    be_officer(hall, "officer-2")
    with untouched(hall):
        sent = browse(hall, f"/desk/tasks/{which}/decision", **form)
    assert sent.status_code == 403
    assert REASON not in sent.text


def test_another_site_has_nothing_kept_for_anybody(hall: Hall, task: tuple[str, Headers]) -> None:
    which, _ = task
    be_officer(hall)
    form = written(hall, which)
    browse(hall, "/logout")
    path, evil = f"/desk/tasks/{which}/decision", {"Origin": "https://evil.example"}
    with untouched(hall):
        out = hall.client.post(path, data=form, headers=evil, follow_redirects=False)
    be_officer(hall)
    with untouched(hall):
        again = hall.client.post(path, data=form, headers=evil, follow_redirects=False)
    assert (out.status_code, again.status_code) == (403, 403)


def test_files_are_kept_for_who_has_logged_in_again(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, complete(who)).json()["number"]
    hall.installation.pump()
    path = f"/cases/{number}"
    browse(hall, "/dev/login/citizen", **only(who))
    form = {"csrf_token": hidden_field(hall, path, {}), "as.residence_proof": "lease_contract"}
    browse(hall, "/logout")
    browse(hall, "/dev/login/citizen", **only(who))
    sent = hall.client.post(
        f"{path}/supply",
        data={**form, "idempotency_key": "k" * 36},
        files={"file.residence_proof": ("租赁合同.pdf", A_PDF, "application/pdf")},
        follow_redirects=False,
    )
    assert sent.status_code == 303
    page = hall.client.get(sent.headers["location"]).text
    assert "租赁合同.pdf" in page
    assert hall.case(headers, number)["state"] == "correction_required"


def only(who: Citizen) -> dict[str, str]:
    named = as_named(who)
    return {"name": named["name"], "id_number": named["id_number"]}


def test_somebody_else_s_kept_file_is_not_taken(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    other, others = hall.citizen(WITHOUT_LEASE)
    numbers = [hall.apply(h, complete(w)).json()["number"] for w, h in ((who, headers), (other, others))]
    hall.installation.pump()
    sent = hall.client.post(
        "/api/v1/uploads",
        headers={**others, "Idempotency-Key": "a" * 20},
        files={"file": ("f.pdf", A_PDF)},
    )
    cookie, path = session(headers), f"/cases/{numbers[0]}"
    form = {
        "csrf_token": hidden_field(hall, path, cookie),
        "idempotency_key": "k" * 36,
        "as.residence_proof": "lease_contract",
        "kept.residence_proof": sent.json()["id"],
    }
    answer = hall.client.post(f"{path}/supply", headers=cookie, data=form, files={"none": ("", b"")})
    assert answer.status_code == 422
