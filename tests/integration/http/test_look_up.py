"""A case by number and query code, without a log-in, and no guessing."""

import pytest

from tests.support.hall import NOWHERE, Hall, application, problem, same, untouched


@pytest.mark.usefixtures("fresh_lookups")
def test_a_wrong_code_is_like_a_wrong_number_until_nobody_may_guess(hall: Hall) -> None:
    who, headers = hall.citizen()
    receipt = hall.apply(headers, application(who)).json()
    right = {"number": receipt["number"], "query_code": receipt["query_code"]}
    wrong_code = {**right, "query_code": "0" * 32}
    wrong_number = {**wrong_code, "number": NOWHERE}
    # Somebody else's code is worth nothing here.
    other, others = hall.citizen()
    their_code = {**right, "query_code": hall.apply(others, application(other)).json()["query_code"]}
    answers = [
        hall.client.post("/api/v1/cases/lookup", json=b) for b in (wrong_code, wrong_number, their_code)
    ]
    assert problem(answers[0]) == (404, "case.not-found")
    for answer in answers[1:]:
        same(answers[0], answer, but={})
    for n in range(17):
        hall.client.post("/api/v1/cases/lookup", json={**right, "query_code": f"{n:032x}"})
    # Now nothing tells a right code from a wrong one, and the citizen who has logged in is not shut out.
    with untouched(hall):
        answers = [hall.client.post("/api/v1/cases/lookup", json=body) for body in (right, wrong_code)]
    assert problem(answers[0]) == (429, "case.too-many-lookups")
    assert int(answers[0].headers["retry-after"]) > 0
    same(*answers, but={})
    assert hall.case(headers, receipt["number"])["number"] == receipt["number"]


def test_a_case_is_looked_up_by_number_and_code_and_guessing_ends(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    receipt = fresh_hall.apply(headers, application(who)).json()
    asked = {"number": receipt["number"], "query_code": receipt["query_code"]}
    assert fresh_hall.client.post("/api/v1/cases/lookup", json=asked).json()["number"] == receipt["number"]
    wrong = [
        fresh_hall.client.post("/api/v1/cases/lookup", json={**asked, "query_code": f"{n:032x}"}).status_code
        for n in range(21)
    ]
    assert wrong == [404] * 20 + [429]
