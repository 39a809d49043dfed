"""At a counter, on pages: somebody agrees in a holder's place or takes a consent back, for whom an operator
serves; nothing typed is lost, all that is wrong is told at once, and nothing tells what anybody holds."""

import re
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.http.test_consent import DISABLED
from tests.integration.http.test_withdraw_consent import at_counter
from tests.support.agents import acted_for, born
from tests.support.hall import NOWHERE, Hall, Headers, hidden_field, session, untouched
from tests.support.installation import HELD, Citizen

PAPER = {"holder_role": "applicant", "document": "guardianship", "reference": "户口簿 0412"}


def filed_for(hall: Hall, holds: tuple[str, ...] | None = None) -> tuple[str, Citizen, Citizen]:
    """A case that a guardian has brought for a child, of whom the state holds these or has never heard."""
    guardian, headers = hall.citizen(("id_card",))
    child = Citizen("孩子", born(2014, int(uuid4().int % 900) + 50), "13800000009")
    if holds is not None:
        child = hall.installation.citizen(holds)
    named = {"name": child.name, "id_number": child.id_number, "phone": child.phone}
    answer = hall.apply(headers, acted_for(named, guardian, "disabled" if holds else "under_16"))
    assert answer.status_code == 201, answer.text
    hall.installation.pump()
    return answer.json()["number"], guardian, child


@pytest.fixture
def filed(hall: Hall) -> tuple[str, Citizen, Citizen]:
    """A case, its agent and its applicant."""
    return filed_for(hall)


def browser(headers: Headers) -> Headers:
    return {**session(headers), "Accept": "text/html"}


def sent(hall: Hall, cookie: Headers, number: str, act: str, **fields: str) -> Any:
    path = f"/cases/{number}/counter"
    form = {
        "csrf_token": hidden_field(hall, path, cookie),
        "idempotency_key": str(uuid4()),
        **fields,
    }
    return hall.client.post(f"{path}/{act}", headers=cookie, data=form, follow_redirects=False)


def test_from_the_number_to_what_is_noted_with_both_identities(
    hall: Hall, filed: tuple[str, Citizen, Citizen]
) -> None:
    number, guardian, child = filed
    cookie = browser(at_counter(hall, guardian))
    token = hidden_field(hall, "/counter", cookie)
    # As people paste it.
    pasted = f" {number[:6]} {number[6:].lower()} "
    found = hall.client.post(
        "/counter", headers=cookie, data={"csrf_token": token, "number": pasted}, follow_redirects=False
    )
    assert (found.status_code, found.headers["location"]) == (303, f"/cases/{number}/counter")
    page = hall.client.get(f"/cases/{number}/counter", headers=cookie).text
    assert guardian.name in page
    assert "desk-9" in page
    assert child.name not in page
    done = sent(hall, cookie, number, "consent", **PAPER)
    assert (done.status_code, done.headers["location"]) == (303, f"/cases/{number}/counter?noted=consent")
    assert "已登记同意" in hall.client.get(done.headers["location"], headers=cookie).text
    hall.installation.pump()
    (kept,) = hall.installation.rows(
        "SELECT * FROM intake.consents WHERE case_no = :n AND given_at IS NOT NULL AND basis = 'proxy'",
        n=number,
    )
    agent = hall.installation.value("SELECT agent FROM intake.cases WHERE number = :n", n=number)
    assert (kept.proxy, kept.recorded_by, kept.document) == (agent, "desk-9", "guardianship")
    holder = hall.log_in("citizen", name=child.name, id_number=child.id_number)
    told = hall.client.get("/api/v1/messages", headers=holder).json()["messages"]
    assert [one["title"] for one in told if one["case"] == number].count("有人代您同意查询证照") == 1
    reads = "SELECT count(*) FROM intake.person_reads WHERE case_no = :n AND reader = 'desk-9'"
    assert hall.installation.value(reads, n=number) > 0, "looking is noted"


def test_whoever_agreed_for_a_holder_takes_it_back(hall: Hall, filed: tuple[str, Citizen, Citizen]) -> None:
    number, guardian, _ = filed
    cookie = browser(at_counter(hall, guardian))
    sent(hall, cookie, number, "consent", **PAPER)
    done = sent(hall, cookie, number, "withdrawal", holder_role="applicant")
    assert done.headers["location"] == f"/cases/{number}/counter?noted=withdrawal"
    again = sent(hall, cookie, number, "consent", **{**PAPER, "document": "power_of_attorney"})
    assert again.status_code == 303
    kept = hall.installation.rows(
        "SELECT nth, document, withdrawn_at IS NULL AS stands FROM intake.consents "
        "WHERE case_no = :n AND proxy IS NOT NULL ORDER BY nth",
        n=number,
    )
    assert [tuple(one) for one in kept] == [(1, "guardianship", False), (2, "power_of_attorney", True)]


def test_all_that_is_wrong_is_told_at_once_and_nothing_typed_is_lost(
    hall: Hall, filed: tuple[str, Citizen, Citizen]
) -> None:
    number, guardian, _ = filed
    cookie = browser(at_counter(hall, guardian))
    page = sent(hall, cookie, number, "consent")
    assert page.status_code == 422
    for said in ("请选择持证人。", "请选择核验的文件。", "请填写文件编号"):
        assert said in page.text
    page = sent(hall, cookie, number, "consent", document="power_of_attorney", reference="甲" * 101)
    assert page.status_code == 422
    assert "甲" * 101 in page.text
    assert re.search(r'value="power_of_attorney" checked', page.text)
    assert "请选择核验的文件。" not in page.text
    links = re.findall(r'<li><a href="#([^"]+)">', page.text)
    assert links
    assert all(f'id="{link}"' in page.text for link in links)
    given = "SELECT count(*) FROM intake.consents WHERE case_no = :n AND basis = 'proxy'"
    assert hall.installation.value(given, n=number) == 0


def test_the_page_is_the_same_whatever_the_holder_has(hall: Hall) -> None:
    seen = []
    for holds in (DISABLED, ("id_card",)):
        number, guardian, _ = filed_for(hall, holds)
        page = hall.client.get(f"/cases/{number}/counter", headers=browser(at_counter(hall, guardian))).text
        plain = page.replace(number, "").replace(guardian.name, "")
        seen.append(re.sub(r'value="[^"]{20,}"', "", plain))
    assert seen[0] == seen[1]


def test_cases_of_others_are_as_if_they_were_not_there(
    hall: Hall, filed: tuple[str, Citizen, Citizen]
) -> None:
    number, _, _ = filed
    cookie = browser(at_counter(hall, hall.installation.citizen(HELD)))
    token = hidden_field(hall, "/counter", cookie)
    with untouched(hall):
        pages = [
            hall.client.post("/counter", headers=cookie, data={"csrf_token": token, "number": which})
            for which in (number, NOWHERE)
        ]
        direct = [hall.client.get(f"/cases/{which}/counter", headers=cookie) for which in (number, NOWHERE)]
    assert [page.status_code for page in (*pages, *direct)] == [404] * 4
    plain = [
        re.sub(r'value="[^"]{20,}"', "", page.text.replace(which, ""))
        for page, which in zip(pages, (number, NOWHERE), strict=True)
    ]
    assert plain[0] == plain[1]


def test_only_at_a_counter(hall: Hall, filed: tuple[str, Citizen, Citizen]) -> None:
    number, guardian, _ = filed
    cookie = browser(at_counter(hall, guardian, "hotline"))
    for path in ("/counter", f"/cases/{number}/counter"):
        assert hall.client.get(path, headers=cookie).status_code == 403


def test_the_test_log_in_of_a_counter_says_whom_it_serves(
    hall: Hall, filed: tuple[str, Citizen, Citizen]
) -> None:
    number, guardian, _ = filed
    form = {"name": guardian.name, "id_number": guardian.id_number}
    answer = hall.client.post("/dev/login/operator", data=form, follow_redirects=False)
    cookie = {"Cookie": f"onestop_session={answer.cookies['onestop_session']}"}
    hall.client.cookies.clear()
    assert "counter-1" in hall.client.get(f"/cases/{number}/counter", headers=cookie).text
    wrong = hall.client.post("/dev/login/operator", data={**form, "id_number": "1"}, follow_redirects=False)
    assert wrong.status_code == 422
    assert guardian.name in wrong.text
