"""A form and a log-in that name different people are pointed out before the application is taken."""

from uuid import UUID

import pytest

from services.intake.access import read_application
from services.intake.identity.persons import name_of
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.support.agents import GRANNY, acted_for, born
from tests.support.hall import Hall, Headers, application, as_named, bearer, problem, session, untouched
from tests.support.installation import Citizen

OTHERWISE = "张山"


def pointers(answer: object) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]  # type: ignore[attr-defined]


def calling(who: Citizen, name: str) -> Citizen:
    """The same person under another name."""
    return Citizen(name, who.id_number, who.phone)


def test_another_name_is_pointed_out_and_taken_when_it_is_meant(hall: Hall) -> None:
    who, headers = hall.citizen()
    sent = application(calling(who, OTHERWISE))
    with untouched(hall):
        refused = hall.apply(headers, sent)
    assert problem(refused) == (409, "case.name-differs")
    assert pointers(refused) == ["/applicant/name"]
    assert who.name not in refused.text
    assert "name_as_written" in refused.json()["detail"]
    taken = hall.apply(headers, {**sent, "name_as_written": True})
    assert taken.status_code == 201
    # What they mean for this case renames nobody.
    number = taken.json()["number"]
    ref = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    assert verified_name(hall, ref) == (who.name, Assurance.VERIFIED)


def verified_name(hall: Hall, ref: UUID) -> tuple[str, Assurance] | None:
    with unit_of(hall.installation.context("intake"), "test.read") as unit:
        return name_of(unit, ref)


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_it_is_said_in_both_languages(hall: Hall, language: str) -> None:
    who, headers = hall.citizen()
    answer = hall.apply({**headers, "Accept-Language": language}, application(calling(who, OTHERWISE)))
    said = answer.json()["title"] + answer.json()["detail"] + answer.json()["errors"][0]["message"]
    assert said.isascii() == (language == "en")


def test_one_name_in_two_spellings_is_taken(hall: Hall) -> None:
    who = Citizen("阿凡提·买买提", born(1980, 311), "13800000311")
    headers = hall.log_in_as(who)
    assert hall.apply(headers, application(calling(who, "阿凡提 • 买买提"))).status_code == 201


def test_an_agent_who_is_called_otherwise_is_told_at_their_own_name(hall: Hall) -> None:
    agent, headers = hall.citizen()
    granny = {**GRANNY, "id_number": born(1949, 312)}
    with untouched(hall):
        refused = hall.apply(headers, acted_for(granny, calling(agent, OTHERWISE), "elderly"))
    assert problem(refused) == (409, "case.name-differs")
    assert pointers(refused) == ["/agent/name"]


def test_how_somebody_else_was_verified_is_not_told(hall: Hall) -> None:
    known = {"name": "李奶奶", "id_number": born(1949, 313), "phone": "13800000313"}
    hall.client.post("/dev/tokens/citizen", json=known)
    unknown = {**known, "id_number": born(1949, 314)}
    agent, headers = hall.citizen()
    for who in (known, unknown):
        sent = acted_for({**who, "name": "李姥姥"}, agent, "elderly")
        assert hall.apply(headers, sent).status_code == 201


def test_whom_a_counter_serves_is_called_as_verified(hall: Hall) -> None:
    who, _ = hall.citizen()
    counter = hall.log_in("operator", subject="window-2", channels=["counter"], acting_for=as_named(who))
    sent = {**application(calling(who, OTHERWISE)), "channel": "counter"}
    assert problem(hall.apply(counter, sent)) == (409, "case.name-differs")
    assert hall.apply(counter, {**sent, "name_as_written": True}).status_code == 201


def test_a_program_files_for_whom_its_form_names(hall: Hall) -> None:
    who, _ = hall.citizen()
    program = hall.log_in("client", subject="super-app", channels=["app"])
    sent = {**application(calling(who, OTHERWISE)), "channel": "app"}
    assert hall.apply(program, sent).status_code == 201


def test_the_officer_sees_the_verified_name_beside_the_one_that_was_meant(hall: Hall) -> None:
    who, headers = hall.citizen()
    sent = hall.apply(headers, {**application(calling(who, OTHERWISE)), "name_as_written": True})
    hall.installation.pump()
    task = hall.installation.value(
        "SELECT id FROM approval.tasks WHERE case_no = :n", n=sent.json()["number"]
    )
    officer = hall.officer("officer-3")
    found = hall.client.get(f"/api/v1/tasks/{task}", headers=officer).json()["application"]
    assert found["form"]["applicant"]["name"] == OTHERWISE
    assert found["names_as_written"] == [{"pointer": "/applicant/name", "verified": who.name}]
    page = hall.client.get(f"/desk/tasks/{task}", headers=session(officer)).text
    assert f"核验姓名：<strong>{who.name}</strong>" in page
    reads = hall.installation.rows(
        "SELECT what FROM intake.person_reads WHERE reader = 'officer-3' ORDER BY what"
    )
    assert [read.what for read in reads] == ["application", "application", "name", "name"]


def test_whom_an_agent_calls_otherwise_is_marked_too_and_one_name_in_two_spellings_is_not(hall: Hall) -> None:
    known = {"name": "李奶奶", "id_number": born(1949, 318), "phone": "13800000318"}
    hall.client.post("/dev/tokens/citizen", json=known)
    agent, headers = hall.citizen()
    same = Citizen("阿凡提·买买提", born(1980, 319), "13800000319")
    sent = [
        hall.apply(headers, acted_for({**known, "name": "李姥姥"}, agent, "elderly")),
        hall.apply(hall.log_in_as(same), application(calling(same, "阿凡提 • 买买提"))),
    ]
    marked = []
    for number in (answer.json()["number"] for answer in sent):
        with unit_of(hall.installation.context("intake"), "test.read") as unit:
            found = read_application(unit, number, "officer-4", "deciding the case")
        marked.append(found["names_as_written"])
    assert marked == [[{"pointer": "/applicant/name", "verified": "李奶奶"}], []]


def test_another_id_number_says_which_one_is_not_theirs(hall: Hall) -> None:
    who, headers = hall.citizen()
    typing_error = Citizen(who.name, born(1990, 315), who.phone)
    with untouched(hall):
        refused = hall.apply(headers, application(typing_error))
        third = acted_for(GRANNY, Citizen("第三人", born(1970, 316), "13800000316"), "elderly")
        both = hall.apply(headers, third)
    assert problem(refused) == (403, "case.not-yours-to-file")
    assert pointers(refused) == ["/applicant/id_number"]
    assert "代办人" in refused.json()["detail"]
    assert sorted(pointers(both)) == ["/agent/id_number", "/applicant/id_number"]


def test_a_verified_name_takes_the_place_of_what_a_stranger_typed_first(hall: Hall) -> None:
    who = {"name": "王五", "id_number": born(1951, 317), "phone": "13800000317"}
    stranger, theirs = hall.citizen()
    sent = hall.apply(theirs, acted_for({**who, "name": "王八"}, stranger, "elderly"))
    assert sent.status_code == 201
    ref = hall.installation.value(
        "SELECT applicant FROM intake.cases WHERE number = :n", n=sent.json()["number"]
    )
    assert verified_name(hall, ref) == ("王八", Assurance.CLAIMED)
    headers: Headers = bearer(hall.client.post("/dev/tokens/citizen", json=who).json()["token"])
    assert verified_name(hall, ref) == ("王五", Assurance.VERIFIED)
    own = application(Citizen(who["name"], who["id_number"], who["phone"]), ground="housing")
    assert hall.apply(headers, {**own, "another": True}).status_code == 201
