"""Somebody agrees for a holder at a counter, by a paper that an operator has seen; the holder is told."""

from typing import Any

import pytest

from tests.support.agents import acted_for, born
from tests.support.hall import NOWHERE, Hall, Headers, as_named, keyed, problem, session, untouched
from tests.support.installation import HELD, Citizen

SEEN = {"holder_role": "applicant", "document": "guardianship", "reference": "户口簿 330106-2026-0412"}
CHILD = born(2014, 31)


@pytest.fixture
def filed(hall: Hall) -> tuple[str, Citizen]:
    """A case that somebody has brought for a child of theirs, and who it was."""
    guardian, headers = hall.citizen(("id_card",))
    child = {"name": "孩子", "id_number": CHILD, "phone": guardian.phone}
    answer = hall.apply(headers, acted_for(child, guardian, "under_16"))
    assert answer.status_code == 201, answer.text
    hall.installation.pump()
    return answer.json()["number"], guardian


def operator(hall: Hall, serves: Citizen, *channels: str) -> Headers:
    return hall.log_in(
        "operator", subject="desk-9", channels=list(channels or ("counter",)), acting_for=as_named(serves)
    )


def record(hall: Hall, headers: Headers, number: str, **changed: Any) -> Any:
    return hall.client.post(
        f"/api/v1/cases/{number}/proxy-consents", headers=keyed(headers), json={**SEEN, **changed}
    )


def test_it_is_recorded_with_its_proof_and_the_holder_is_told(hall: Hall, filed: tuple[str, Citizen]) -> None:
    number, guardian = filed
    for _ in range(2):
        assert record(hall, operator(hall, guardian), number).status_code == 200
    hall.installation.pump()
    (found,) = hall.installation.rows(
        "SELECT * FROM intake.consents WHERE case_no = :n AND 'applicant' IN "
        "(SELECT jsonb_array_elements_text(roles))",
        n=number,
    )
    assert (found.basis, found.recorded_by, found.document) == ("proxy", "desk-9", "guardianship")
    assert found.proxy is not None
    assert SEEN["reference"].encode() not in bytes(found.sealed_reference)
    grants = hall.installation.rows(
        "SELECT basis FROM materials.use_grants WHERE case_no = :n AND holder = :h", n=number, h=found.holder
    )
    assert [grant.basis for grant in grants] == ["proxy"]
    child = hall.log_in("citizen", name="孩子", id_number=CHILD)
    told = hall.client.get("/api/v1/messages", headers=child).json()["messages"]
    assert [one["title"] for one in told if one["case"] == number].count("有人代您同意查询证照") == 1
    given = hall.client.get("/api/v1/consents/given", headers=child).json()["consents"]
    (line,) = [one for one in given if one["number"] == number]
    assert (line["basis"], line["document"]) == ("proxy", "guardianship")
    page = hall.client.get("/consents", headers={**session(child), "Accept": "text/html"}).text
    assert "窗口核验代理授权后登记" in page


@pytest.mark.parametrize("channel", ["hotline", "kiosk"])
def test_only_a_counter_sees_papers(hall: Hall, filed: tuple[str, Citizen], channel: str) -> None:
    number, guardian = filed
    headers = operator(hall, guardian, channel)
    with untouched(hall):
        answers = [problem(record(hall, headers, which)) for which in (number, NOWHERE)]
    assert answers == [(403, "consent.not-at-a-counter")] * 2


def test_only_in_the_affairs_of_whom_they_serve(hall: Hall, filed: tuple[str, Citizen]) -> None:
    number, _ = filed
    stranger = hall.installation.citizen(HELD)
    headers = operator(hall, stranger)
    with untouched(hall):
        answers = [problem(record(hall, headers, which)) for which in (number, NOWHERE)]
    assert answers == [(404, "case.not-found")] * 2


def test_what_is_not_asked_of_a_holder_is_not_recorded(hall: Hall, filed: tuple[str, Citizen]) -> None:
    number, guardian = filed
    headers = operator(hall, guardian)
    assert problem(record(hall, headers, number, holder_role="nobody")) == (409, "case.consent-not-needed")
    assert problem(record(hall, headers, number, reference=" ")) == (422, "request.invalid")


def test_nobody_is_their_own_proxy(hall: Hall, filed: tuple[str, Citizen]) -> None:
    number, _ = filed
    child = Citizen("孩子", CHILD, "13900000001")
    answer = record(hall, operator(hall, child), number)
    assert problem(answer) == (422, "request.invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/holder_role"]
