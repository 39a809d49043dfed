"""What is missing is asked for once and supplied."""

import re
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.hall import (
    A_JPEG,
    A_PDF,
    WITHOUT_LEASE,
    Hall,
    application,
    hidden_field,
    keyed,
    problem,
    session,
    stuck,
    untouched,
    upload,
)


def test_supplying_twice_before_anybody_looked_holds_nothing_up(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"
    answers = []
    for _ in range(2):
        body = {"uploads": {"lease_contract": upload(hall, headers)}}
        answers.append(hall.client.post(path, headers=keyed(headers), json=body))
    assert answers[0].status_code == 202
    assert problem(answers[1]) == (409, "case.nothing-asked")
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []


def test_of_two_missing_materials_one_is_not_enough_and_nobody_is_asked_again(hall: Hall) -> None:
    who, headers = hall.citizen(("id_card", "social_insurance_record"))
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"

    def supply(code: str, content: bytes) -> httpx.Response:
        body = {"uploads": {code: upload(hall, headers, content)}}
        answer: httpx.Response = hall.client.post(path, headers=keyed(headers), json=body)
        hall.installation.pump()
        return answer

    told = hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
    with_first = supply("photo", A_JPEG)
    assert (with_first.status_code, with_first.json()["supplied"]) == (202, ["photo"])
    case = hall.case(headers, number)
    assert case["state"] == "correction_required"
    assert hall.client.get("/api/v1/messages", headers=headers).json()["messages"] == told
    # What was not asked for, and a file of the wrong type, change nothing.
    with untouched(hall):
        sent = {"uploads": {"labour_contract": str(UUID(int=1))}}
        assert problem(hall.client.post(path, headers=keyed(headers), json=sent))[0] == 422
    assert problem(supply("labour_contract", A_PDF)) == (422, "case.material-not-asked")
    assert problem(supply("photo", A_PDF)) == (422, "case.upload-type-wrong")
    assert supply("lease_contract", A_PDF).status_code == 202
    case = hall.case(headers, number)
    assert case["state"] == "under_review"
    assert [entry["fact"] for entry in case["timeline"]].count("correction-required") == 1
    assert problem(supply("lease_contract", A_PDF)) == (409, "case.nothing-asked")


def test_a_gap_is_asked_for_once_and_supplied(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert [item["material"] for item in case["asked"]] == ["residence_proof"]
    once = {**headers, "Idempotency-Key": str(uuid4())}
    file = {"file": ("lease.pdf", A_PDF, "application/pdf")}
    upload = fresh_hall.client.post("/api/v1/uploads", headers=once, files=file).json()["id"]
    supply = {**headers, "Idempotency-Key": str(uuid4())}
    path = f"/api/v1/cases/{number}/supplements"
    answer = fresh_hall.client.post(path, headers=supply, json={"uploads": {"lease_contract": upload}})
    assert answer.status_code == 202
    fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert case["state"] == "under_review"
    assert sum(entry["fact"] == "correction-required" for entry in case["timeline"]) == 1


@pytest.mark.parametrize(("second", "status"), [(A_PDF, 303), (A_PDF + b"%", 409)], ids=["same", "other"])
def test_a_page_that_is_sent_twice_says_which_files_count(hall: Hall, second: bytes, status: int) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    cookie, path = session(headers), f"/cases/{number}"
    page = hall.client.get(path, headers=cookie).text
    (key,) = set(re.findall(r'name="idempotency_key" value="([^"]+)"', page))
    form = {"csrf_token": hidden_field(hall, path, cookie), "idempotency_key": key}

    def send(content: bytes) -> httpx.Response:
        answer: httpx.Response = hall.client.post(
            f"{path}/supply",
            headers={**cookie, "Accept": "text/html"},
            data={**form, "as.residence_proof": "lease_contract"},
            files={"file.residence_proof": ("lease.pdf", content, "application/pdf")},
            follow_redirects=False,
        )
        return answer

    assert send(A_PDF).status_code == 303
    again = send(second)
    assert again.status_code == status, again.text
    assert (status == 303) is ("这次的文件没有采用" not in again.text)
    hall.installation.pump()
    kept = hall.installation.value("SELECT uploads FROM materials.cases WHERE number = :n", n=number)
    sizes = hall.installation.rows(
        "SELECT size FROM materials.uploads WHERE id = CAST(:u AS uuid)", u=kept["lease_contract"]
    )
    assert [row.size for row in sizes] == [len(A_PDF)]
