"""What a form must satisfy beyond its JSON Schema: identity numbers, phones, e-mail addresses, dates against
today, agents."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import phonenumbers

from services.intake.errors import AgentNotAllowed
from services.intake.rules.identity import (
    IdNumberProblem,
    age_on,
    birth_on,
    check_id_number,
    normalise_id_number,
)
from shared.catalogue.matter import Matter
from shared.catalogue.pointers import follow, pointer_of
from shared.catalogue.terms import AgentGround, holds, months_after
from shared.errors import FieldError, Invalid

APPLICANT = "applicant"
MINOR_UNDER, ELDERLY_FROM = 16, 60
"""Ages in full years: 居住证暂行条例 art. 8 for minors, 老年人权益保障法 art. 2 for the elderly."""

_HOME = "CN"
_LONGEST_EMAIL = 254
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")
_ID_NUMBER_WORDS = {
    IdNumberProblem.MALFORMED: ("身份证件号码应为 18 位。", "An ID number has 18 characters."),
    IdNumberProblem.FIFTEEN_DIGITS: (
        "15 位身份证号码已停用，请填写 18 位号码。",
        "ID numbers of 15 digits are no longer in use; give the one of 18 characters.",
    ),
    IdNumberProblem.REGION: ("身份证件号码的地区码有误。", "The region in this ID number does not exist."),
    IdNumberProblem.BIRTH_DATE: (
        "身份证件号码中的出生日期有误。",
        "The birth date in this ID number does not exist.",
    ),
    IdNumberProblem.BIRTH_IN_FUTURE: (
        "身份证件号码中的出生日期晚于今天。",
        "The birth date in this ID number lies in the future.",
    ),
    IdNumberProblem.CHECK_DIGIT: (
        "身份证件号码校验不通过，请核对后重新填写。",
        "This ID number is not right: compare it with the card, digit by digit.",
    ),
}


@dataclass(frozen=True, slots=True)
class NamedPerson:
    """A person as a form names them, in the one spelling that we keep."""

    name: str
    id_number: str
    phone: str | None
    email: str | None = None


def named_people(matter: Matter, form: Mapping[str, Any]) -> dict[str, NamedPerson]:
    """The people of a form by role, as far as the form names them with an ID number."""
    return {
        role: NamedPerson(
            name=str(person.get("name", "")).strip(),
            id_number=normalise_id_number(str(person["id_number"])),
            phone=normalise_phone(str(person["phone"])) if person.get("phone") else None,
            email=str(person["email"]).strip() if person.get("email") else None,
        )
        for role, _, person in _people(matter, form)
    }


def check_submission(matter: Matter, form: Mapping[str, Any], on: date) -> None:
    """Check a form, which fits its schema, on a day. A matter without a policy has no agents.

    Raises Invalid with every field that is wrong, then AgentNotAllowed. No message repeats a value.
    """
    wrong = [*_wrong_people(matter, form, on), *_wrong_dates(matter.form, form, "", on)]
    if wrong:
        raise Invalid(fields=wrong)
    _check_agent(matter, form, on)


def normalise_phone(text: str) -> str:
    """Digits alone for a number of China, +country otherwise; what is no number stays as it is."""
    try:
        number = phonenumbers.parse(text, _HOME)
    except phonenumbers.NumberParseException:
        return text.strip()
    if number.country_code == 86:
        return phonenumbers.national_significant_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def is_phone(text: str) -> bool:
    """Whether a text is a phone number in use somewhere; without a country it is one of China."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, _HOME))
    except phonenumbers.NumberParseException:
        return False


def is_email(text: str) -> bool:
    """Whether browsers take a text for an e-mail address (WHATWG HTML, `type=email`), of a named domain."""
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def _people(matter: Matter, form: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(role, pointer, person) of everybody whom the form names with an ID number."""
    for role, holder in matter.holders.items():
        person = follow(form, holder.person)
        if isinstance(person, Mapping) and person.get("id_number"):
            yield role, holder.person, person


def _wrong_people(matter: Matter, form: Mapping[str, Any], on: date) -> Iterator[FieldError]:
    # Two roles may be the same block of the form, such as a householder who applies.
    for pointer, person in {pointer: person for _, pointer, person in _people(matter, form)}.items():
        problem = check_id_number(str(person["id_number"]), on)
        if problem is not None:
            yield FieldError(f"{pointer}/id_number", f"id-number.{problem}", *_ID_NUMBER_WORDS[problem])
        phone = person.get("phone")
        if phone and not is_phone(str(phone)):
            yield FieldError(
                f"{pointer}/phone",
                "phone.invalid",
                "电话号码有误，请核对。",
                "This is not a phone number in use.",
            )
        email = person.get("email")
        if email and not is_email(str(email).strip()):
            yield FieldError(
                f"{pointer}/email",
                "email.invalid",
                "电子邮箱地址有误，请核对。",
                "This is not an e-mail address.",
            )


def _wrong_dates(schema: Any, value: Any, pointer: str, on: date) -> Iterator[FieldError]:
    """Errors by the schema's keywords `x-not-future: true` and `x-at-least-months-ago: n`, at any depth."""
    if isinstance(value, Mapping):
        for name, below in schema.get("properties", {}).items():
            if name in value:
                yield from _wrong_dates(below, value[name], pointer + pointer_of([name]), on)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _wrong_dates(schema.get("items", {}), item, f"{pointer}/{index}", on)
    elif isinstance(value, str):
        yield from _wrong_date(schema, value, pointer, on)


def _wrong_date(schema: Mapping[str, Any], text: str, pointer: str, on: date) -> Iterator[FieldError]:
    months = schema.get("x-at-least-months-ago")
    if months is None and schema.get("x-not-future") is not True:
        return
    try:
        day = date.fromisoformat(text)
    except ValueError:
        yield FieldError(pointer, "date.invalid", "日期有误。", "There is no such date.")
        return
    if day > on:
        yield FieldError(
            pointer, "date.in-future", "日期不能晚于今天。", "This date must not lie in the future."
        )
    elif months is not None and months_after(day, months) > on:
        yield FieldError(
            pointer,
            "date.too-recent",
            f"须满 {months} 个月。",
            f"At least {months} months must have passed since this date.",
        )


def _check_agent(matter: Matter, form: Mapping[str, Any], on: date) -> None:
    if matter.agent is None:
        return
    people = named_people(matter, form)
    agent, applicant = people.get(matter.agent.role), people.get(APPLICANT)
    if agent is None or applicant is None:
        return
    if agent.id_number == applicant.id_number:
        raise Invalid(
            fields=[
                FieldError(
                    f"{matter.holders[matter.agent.role].person}/id_number",
                    "agent.is-applicant",
                    "代办人不能是申请人本人。",
                    "The agent must be somebody else than the applicant.",
                )
            ]
        )
    age = age_on(birth_on(applicant.id_number), on)
    if not any(_applies(ground, age, matter, form) for ground in matter.agent.allowed_for):
        raise AgentNotAllowed(
            "申请人不属于可由他人代办的情形。", "The applicant is not among those for whom somebody may act."
        )


def _applies(ground: AgentGround, age: int, matter: Matter, form: Mapping[str, Any]) -> bool:
    match ground:
        case AgentGround.ANYBODY:
            return True
        case AgentGround.UNDER_16:
            return age < MINOR_UNDER
        case AgentGround.ELDERLY:
            return age >= ELDERLY_FROM
        case AgentGround.DISABLED:
            condition = matter.agent.disabled_when if matter.agent else None
            return bool(condition) and holds(condition, matter.facts_of(form))
