"""What people paste is cleaned and then judged; what shows something else than it says is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from services.intake.consents import ProxyConsent
from tests.support.hall import Hall, application
from tests.support.installation import Citizen


def applicant(who: Citizen, **changed: str) -> dict[str, str]:
    return {"name": who.name, "id_number": who.id_number, "phone": who.phone, **changed}


def grouped(text: str, *cuts: int, by: str = " ") -> str:
    parts = [text[a:b] for a, b in zip((0, *cuts), (*cuts, None), strict=True)]
    return by.join(parts)


def full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


@pytest.mark.parametrize(
    "typed",
    [
        lambda text: grouped(text, 6, 14),
        lambda text: grouped(text, 6, 14, by="\u200b"),
        lambda text: grouped(text, 4, 8, 12, by="\u00a0"),
        lambda text: grouped(text, 6, 14, by="-"),
        lambda text: f"\ufeff{full_width(text)}\u3000",
        str.lower,
    ],
)
def test_an_id_number_is_taken_as_it_was_pasted(hall: Hall, typed: Any) -> None:
    who, headers = hall.citizen()
    while not who.id_number.endswith("X"):
        who, headers = hall.citizen()
    sent = applicant(who, id_number=typed(who.id_number), phone=grouped(who.phone, 3, 7))
    answer = hall.apply(headers, application(who, applicant=sent))
    assert answer.status_code == 201, answer.text
    assert hall.case(headers, answer.json()["number"])["number"] == answer.json()["number"]


@pytest.mark.parametrize(
    "typed",
    [
        lambda number, code: (grouped(number, 6, 12), grouped(code, 8, 16, 24)),
        lambda number, code: (f"{number}\u200b", f"\u00a0{code.upper()}"),
        lambda number, code: (full_width(number), full_width(code)),
        lambda number, code: (grouped(number.lower(), 6, by="-"), grouped(code, 16, by="\n")),
    ],
)
def test_a_pasted_number_finds_its_case(hall: Hall, typed: Any) -> None:
    who, headers = hall.citizen()
    receipt = hall.apply(headers, application(who)).json()
    number, code = typed(receipt["number"], receipt["query_code"])
    found = hall.client.post("/api/v1/cases/lookup", json={"number": number, "query_code": code})
    assert found.json().get("number") == receipt["number"], found.text
    page = hall.client.post(
        "/lookup", data={"number": number, "query_code": code}, headers={"Accept": "text/html"}
    )
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"name": "\u200b\u3164"}, "/applicant/name", "shows-nothing"),
        ({"name": "\u2800"}, "/applicant/name", "shows-nothing"),
        ({"name": "张\u202e三"}, "/applicant/name", "bad-character"),
        ({"name": "\u2067张三\u2069"}, "/applicant/name", "bad-character"),
        ({"phone": "138OOI38OOO"}, "/applicant/phone", "phone.invalid"),
        ({"phone": "0571 8765 4321"}, "/applicant/phone", "phone.landline"),
    ],
)
def test_what_shows_something_else_is_refused(
    hall: Hall, change: dict[str, str], pointer: str, code: str
) -> None:
    who, headers = hall.citizen()
    answer = hall.apply(headers, application(who, applicant=applicant(who, **change)))
    assert answer.status_code == 422
    found = {error["pointer"].removeprefix("/form"): error["code"] for error in answer.json()["errors"]}
    assert found[pointer] == code


def test_an_address_of_nothing_is_none(hall: Hall) -> None:
    who, headers = hall.citizen()
    residence = {"address": "\u2800 \u3164", "kind": "rented", "since": "2024-03-01"}
    answer = hall.apply(headers, application(who, residence=residence))
    assert answer.status_code == 422
    told = {error["pointer"].removeprefix("/form"): error["code"] for error in answer.json()["errors"]}
    assert told["/residence/address"] == "shows-nothing"


def test_what_nobody_sees_is_not_kept(hall: Hall) -> None:
    who, headers = hall.citizen()
    residence = {"address": " 文三路\u200b 1 号\ufeff ", "kind": "rented", "since": "２０２４-03-01"}
    number = hall.apply(headers, application(who, residence=residence)).json()["number"]
    hall.installation.pump()
    task = hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number)
    read = hall.client.get(f"/api/v1/tasks/{task}", headers=hall.officer("officer-1")).json()
    assert read["application"]["form"]["residence"] == {
        "address": "文三路 1 号",
        "kind": "rented",
        "since": "2024-03-01",
    }


@pytest.mark.parametrize("name", ["张\u202e三", "\u200b\u3164"])
def test_a_log_in_takes_no_name_that_shows_something_else(hall: Hall, name: str) -> None:
    who, _ = hall.citizen()
    typed = {"name": name, "id_number": who.id_number}
    refused = hall.client.post("/dev/tokens/citizen", json=typed)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/name")


def test_a_log_in_takes_an_id_number_as_it_was_pasted(hall: Hall) -> None:
    who, _ = hall.citizen()
    typed = {"name": who.name, "id_number": grouped(who.id_number, 6, 14, by="\u00a0")}
    assert hall.client.post("/dev/tokens/citizen", json=typed).status_code == 200


@pytest.mark.parametrize("reference", ["\u202e2026-1", "\u200b\u3164"])
def test_what_a_counter_notes_of_a_paper_can_be_read(reference: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProxyConsent.model_validate_json(
            json.dumps({"holder_role": "applicant", "document": "guardianship", "reference": reference})
        )
    assert [error["loc"] for error in refused.value.errors()] == [("reference",)]


def test_a_look_up_that_finds_nothing_keeps_what_was_typed(hall: Hall) -> None:
    typed = {"number": "330106XZXK2026999999", "query_code": "abcd 1234"}
    answer = hall.client.post("/lookup", data=typed, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 404
    assert all(f'value="{value}"' in answer.text for value in typed.values())
