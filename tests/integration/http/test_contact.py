"""How people can be reached about a case, read by its kind, each reading noted."""

from typing import Any
from uuid import uuid4

import pytest

from shared.ask import Params
from shared.peers import peer_token
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from tests.integration.bus.test_statements import counted
from tests.support.agents import acted_for, born
from tests.support.hall import Hall, app_of, application, bearer, problem, untouched
from tests.support.installation import Citizen

EMAIL = "xiaoman@mail.example.org"


def contact(hall: Hall, number: str, kind: str) -> Any:
    """What intake answers notify."""
    return ask(hall, "contact", message(hall, number, kind))


def ask(hall: Hall, question: str, asked: Params) -> Any:
    token = load_secret(hall.installation.settings, "notify", SERVICE_TOKEN)
    return hall.internal.post(
        f"/internal/v1/intake/{question}", headers=bearer(peer_token(token, "intake")), json=asked
    )


def message(hall: Hall, number: str, kind: str) -> Params:
    person = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    told = {"kind": kind, "case": number, "purpose": "test", "delivery": str(uuid4()), "sent": False}
    return {"person": str(person), **told}


def applied(hall: Hall, email: str | None) -> tuple[Citizen, str]:
    who, headers = hall.citizen()
    applicant = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
    if email is not None:
        applicant["email"] = email
    answer = hall.apply(headers, application(who, applicant=applicant))
    assert answer.status_code == 201, answer.text
    return who, answer.json()["number"]


def test_each_kind_is_read_by_itself_and_noted(hall: Hall) -> None:
    who, number = applied(hall, EMAIL)
    assert contact(hall, number, "email").json()["contact"] == EMAIL
    assert contact(hall, number, "phone").json()["contact"] == who.phone
    notes = hall.installation.rows(
        "SELECT what, reader, purpose FROM intake.person_reads WHERE case_no = :n ORDER BY id", n=number
    )
    assert [tuple(note) for note in notes] == [("email", "notify", "test"), ("phone", "notify", "test")]


def test_many_are_answered_in_their_order_and_each_reading_is_noted(hall: Hall) -> None:
    (who, first), (other, second), (_, third) = (
        applied(hall, EMAIL),
        applied(hall, "b@example.org"),
        applied(hall, None),
    )
    asked = [(third, "email"), (second, "phone"), (first, "email"), (first, "phone"), (second, "email")]
    answer = ask(hall, "contacts", {"messages": [message(hall, number, kind) for number, kind in asked]})
    found = [one["contact"] for one in answer.json()["contacts"]]
    assert found == [None, other.phone, EMAIL, who.phone, "b@example.org"]
    notes = hall.installation.rows(
        "SELECT case_no, what, reader, purpose FROM intake.person_reads WHERE case_no = ANY(:n)",
        n=[first, second, third],
    )
    assert sorted(notes) == sorted((number, kind, "notify", "test") for number, kind in asked[1:])


def test_a_question_about_many_reads_once_for_all(hall: Hall) -> None:
    numbers = [applied(hall, EMAIL)[1] for _ in range(8)]
    engine = app_of(hall).state.contexts["intake"].engine
    counts = []
    for some in (numbers[:2], numbers):
        messages = [message(hall, number, "phone") for number in some]
        with counted(engine) as statements:
            assert len(ask(hall, "contacts", {"messages": messages}).json()["contacts"]) == len(some)
        counts.append(len([one for one in statements if one != "SELECT 1"]))
    assert counts[0] == counts[1] <= 5


def test_what_was_not_given_is_not_there_and_nothing_was_read(hall: Hall) -> None:
    _, number = applied(hall, None)
    with untouched(hall):
        assert contact(hall, number, "email").json()["contact"] is None


def test_only_kinds_that_there_are_can_be_asked_for(hall: Hall) -> None:
    _, number = applied(hall, EMAIL)
    with untouched(hall):
        refused = contact(hall, number, "sealed_name").json()["refused"]
    assert refused["code"] == "request.malformed"


def test_an_address_that_is_none_is_pointed_at(hall: Hall) -> None:
    who, headers = hall.citizen()
    applicant = {"name": who.name, "id_number": who.id_number, "phone": who.phone, "email": "x@y"}
    with untouched(hall):
        answer = hall.apply(headers, application(who, applicant=applicant))
    assert problem(answer) == (422, "request.invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/applicant/email"]


def test_what_one_form_says_is_of_its_case_alone(hall: Hall) -> None:
    who, headers = hall.citizen()
    applicant = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
    first = hall.apply(headers, application(who, applicant={**applicant, "email": EMAIL})).json()["number"]
    second = hall.apply(headers, application(who)).json()["number"]
    moved = {**applicant, "email": "new@mail.example.org"}
    third = hall.apply(headers, application(who, applicant=moved)).json()["number"]
    found = [contact(hall, number, "email").json()["contact"] for number in (first, second, third)]
    assert found == [EMAIL, None, "new@mail.example.org"]


@pytest.mark.parametrize("kind", ["phone", "email"])
def test_an_agent_does_not_change_how_the_applicant_is_reached(hall: Hall, kind: str) -> None:
    """Who knows an ID number could otherwise have somebody else's notices sent to themselves."""
    known = {"name": "长者", "id_number": born(1952, 7), "phone": "13800000007", "email": EMAIL}
    token = hall.client.post("/dev/tokens/citizen", json=known).json()["token"]
    applicant = Citizen(known["name"], known["id_number"], known["phone"])
    own = hall.apply(bearer(token), application(applicant, applicant=known)).json()["number"]
    before = contact(hall, own, kind).json()
    agent, headers = hall.citizen()
    named = acted_for({**known, "phone": "13899999999"}, agent, "elderly")
    named["form"]["applicant"]["email"] = "agent@mail.example.org"
    assert hall.apply(headers, named).status_code == 201
    assert contact(hall, own, kind).json() == before
    assert before["contact"] == known[kind]


def test_an_address_is_kept_without_what_nobody_sees(hall: Hall) -> None:
    _, number = applied(hall, "a\u202eb\u200b@example.org ")
    assert contact(hall, number, "email").json()["contact"] == "ab@example.org"
