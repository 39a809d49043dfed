"""What a form must satisfy beyond its schema."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.errors import AgentNotAllowed
from services.intake.rules.identity import check_character
from services.intake.rules.submission import (
    check_submission,
    is_email,
    named_people,
    normalise_phone,
    phone_problem,
)
from shared.catalogue.matter import AgentPolicy, FactSource, HolderRole, Matter
from shared.errors import FieldError, Invalid

TODAY = date(2026, 11, 23)


def id_number(birth: str, serial: str = "851") -> str:
    return (body := f"330102{birth}{serial}") + check_character(body)


ADULT, CHILD, ELDER = id_number("19900307"), id_number("20101124"), id_number("19661123")
AGENT = {"name": "王五", "id_number": id_number("19850101"), "phone": "13900139000"}
PERSON = {
    "properties": {
        "id_number": {"type": "string", "format": "id-number"},
        "phone": {"type": "string", "format": "mobile"},
        "email": {"type": "string", "format": "email"},
    }
}
SCHEMA = {
    "properties": {
        "applicant": PERSON,
        "agent": PERSON,
        "resided_since": {
            "type": "string",
            "format": "date",
            "x-not-future": True,
            "x-at-least-months-ago": 6,
        },
        "stay": {"properties": {"from": {"type": "string", "format": "date", "x-not-future": True}}},
    }
}


def matter(**policy: Any) -> Matter:
    names = {"zh": "人", "en": "person"}
    return Matter.model_construct(
        code="test.matter",
        form=SCHEMA,
        holders={
            "applicant": HolderRole.model_validate({"names": names, "person": "/applicant"}),
            "agent": HolderRole.model_validate({"names": names, "person": "/agent"}),
        },
        facts={"disabled": FactSource(value="/disabled")},
        agent=AgentPolicy.model_validate({"role": "agent", **policy}) if policy else None,
    )


ASSISTED = {"allowed_for": ["under_16", "elderly", "disabled"], "disabled_when": {"disabled": True}}


def form(number: str = ADULT, phone: str = "13800138000", **more: Any) -> dict[str, Any]:
    return {"applicant": {"name": "张三", "id_number": number, "phone": phone}, **more}


def errors(data: dict[str, Any]) -> dict[str, str]:
    return {error.pointer: error.code for error in field_errors(data)}


def field_errors(data: dict[str, Any]) -> tuple[FieldError, ...]:
    with pytest.raises(Invalid) as refused:
        check_submission(matter(**ASSISTED), data, TODAY)
    return refused.value.fields


def test_a_good_form_passes() -> None:
    check_submission(matter(), form(resided_since="2026-05-23", stays=[{"from": "2026-11-23"}]), TODAY)


def test_people_in_one_spelling() -> None:
    people = named_people(matter(), form("11010519491231002x", "+86 138-0013-8000"))
    assert set(people) == {"applicant"}
    assert (people["applicant"].id_number, people["applicant"].phone) == ("11010519491231002X", "13800138000")
    both = named_people(matter(), form(agent={"name": "王五", "id_number": AGENT["id_number"]}))
    assert both["agent"].phone is None
    assert people["applicant"].email is None
    given = form()
    given["applicant"]["email"] = " Li.Si+2@mail.example.org "
    assert named_people(matter(), given)["applicant"].email == "Li.Si+2@mail.example.org"


def test_all_wrong_fields_are_told_at_once() -> None:
    data = form(
        "330102199003078516",
        "123",
        agent=AGENT | {"id_number": "110105491231002"},
        resided_since="2026-11-24",
        stay={"from": "2027-01-01"},
    )
    assert errors(data) == {
        "/applicant/id_number": "id-number.check-digit",
        "/applicant/phone": "phone.invalid",
        "/agent/id_number": "id-number.fifteen-digits",
        "/resided_since": "date.in-future",
        "/stay/from": "date.in-future",
    }


@pytest.mark.parametrize(
    ("since", "code"),
    [("2026-05-24", "date.too-recent"), ("2026-11-23", "date.too-recent"), ("2026-02-30", "date.invalid")],
)
def test_half_a_year_counts_by_the_calendar(since: str, code: str) -> None:
    assert errors(form(resided_since=since)) == {"/resided_since": code}


def test_messages_never_repeat_what_was_refused() -> None:
    data = form("330102199003078516", "12345", resided_since="2026-11-24")
    for error in field_errors(data):
        for value in ("330102199003078516", "12345", "2026-11-24"):
            assert value not in error.message_zh + error.message_en


@pytest.mark.parametrize("number", [CHILD, ELDER])
def test_an_agent_may_act_for_children_and_the_elderly(number: str) -> None:
    check_submission(matter(**ASSISTED), form(number, agent=AGENT), TODAY)


def test_an_agent_may_act_for_the_disabled() -> None:
    check_submission(matter(**ASSISTED), form(agent=AGENT, disabled=True), TODAY)
    check_submission(matter(allowed_for=["anybody"]), form(agent=AGENT), TODAY)


@pytest.mark.parametrize("number", [ADULT, id_number("20101123"), id_number("19661124")])
@pytest.mark.parametrize("disabled", [{}, {"disabled": False}, {"disabled": 1}])
def test_nobody_acts_for_other_adults(number: str, disabled: dict[str, Any]) -> None:
    with pytest.raises(AgentNotAllowed):
        check_submission(matter(**ASSISTED), form(number, agent=AGENT, **disabled), TODAY)


def test_disabled_needs_its_condition() -> None:
    with pytest.raises(AgentNotAllowed):
        check_submission(matter(allowed_for=["disabled"]), form(agent=AGENT, disabled=True), TODAY)


def test_the_applicant_is_not_their_own_agent() -> None:
    data = form(CHILD, agent=AGENT | {"id_number": f" {CHILD.lower()}"})
    assert errors(data) == {"/agent/id_number": "agent.is-applicant"}


@pytest.mark.parametrize(
    ("text", "problem", "kept"),
    [
        ("13800138000", None, "13800138000"),
        ("138 0013 8000", None, "13800138000"),
        ("+8613800138000", None, "13800138000"),
        ("+852 5123 4567", None, "+85251234567"),
        ("+1 (202) 555-0123", None, "+12025550123"),
        ("1380013800", "invalid", "1380013800"),
        ("not a number", "invalid", "not a number"),
        ("138OOI38OOO", "invalid", "138OOI38OOO"),
        ("13800138000 ext. 5", "invalid", "13800138000 ext. 5"),
        ("tel:13800138000", "invalid", "tel:13800138000"),
        ("0571 8765 4321", "landline", "57187654321"),
        ("+852 2123 4567", "landline", "+85221234567"),
        ("", "invalid", ""),
    ],
)
def test_phones(text: str, problem: str | None, kept: str) -> None:
    assert phone_problem(text) == problem
    assert normalise_phone(text) == kept


@given(st.text(alphabet="0123456789+abcOIl () -.", max_size=20))
def test_a_phone_has_no_letters(text: str) -> None:
    if any(char.isalpha() for char in text):
        assert phone_problem(text) == "invalid"


def test_no_child_acts_for_others() -> None:
    child = AGENT | {"id_number": CHILD}
    assert errors(form(ELDER, agent=child)) == {"/agent/id_number": "agent.is-minor"}


@pytest.mark.parametrize("day", ["0001-01-01", "0999-12-31", "1899-12-31"])
def test_a_date_of_which_nobody_can_tell(day: str) -> None:
    assert errors(form(resided_since=day)) == {"/resided_since": "date.too-early"}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a@example.org", True),
        ("first.last+tag@mail.example.org", True),
        ("o'hara_1@x-y.example", True),
        ("a@localhost", False),
        ("a@example..org", False),
        ("a@-example.org", False),
        ("a b@example.org", False),
        ("a@example.org\n", False),
        ("a@b@example.org", False),
        ("<a@example.org>", False),
        ("甲@example.org", False),
        ("a" * 65 + "@example.org", False),
        ("a@" + "b." * 130 + "org", False),
        ("", False),
    ],
)
def test_what_passes_for_an_email_address(text: str, good: bool) -> None:
    assert is_email(text) is good


def test_a_wrong_email_address_is_pointed_at() -> None:
    data = form()
    data["applicant"]["email"] = "not an address"
    assert errors(data) == {"/applicant/email": "email.invalid"}
