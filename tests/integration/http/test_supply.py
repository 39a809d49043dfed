"""What is missing is asked for once and supplied."""

from uuid import UUID, uuid4

import httpx

from tests.support.hall import (
    A_JPEG,
    A_PDF,
    WITHOUT_LEASE,
    Hall,
    application,
    keyed,
    problem,
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
