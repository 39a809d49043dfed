"""What a form must satisfy beyond its JSON Schema: identity numbers, phones, e-mail addresses, dates against
today, agents."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
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
from shared.catalogue.form import DATE, EMAIL, ID_NUMBER, MOBILE
from shared.catalogue.matter import Matter
from shared.catalogue.pointers import follow, pointer_of
from shared.catalogue.terms import AgentGround, holds, months_after
from shared.errors import FieldError, Invalid

APPLICANT = "applicant"
MINOR_UNDER, ELDERLY_FROM, AGENT_FROM = 16, 60, 18
"""Ages in full years: 居住证暂行条例 art. 8 for minors, 老年人权益保障法 art. 2 for the elderly,
民法典 art. 18 for those who may act for others."""

_HOME, _HOME_CODE = "CN", 86
_PHONE = re.compile(r"\+?[0-9 ().-]{3,40}")
_TAKES_SMS = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
_EARLIEST = date(1900, 1, 1)
"""Nothing that happened to somebody alive lies before; a smaller year is a slip of the pen."""
_LONGEST_EMAIL = 254
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


class PhoneProblem(StrEnum):
    """Why a phone number is refused; the value is the tail of the field error's code."""

    INVALID = "invalid"
    LANDLINE = "landline"


_WORDS = {
    f"id-number.{IdNumberProblem.MALFORMED}": ("身份证件号码应为 18 位。", "An ID number has 18 characters."),
    f"id-number.{IdNumberProblem.FIFTEEN_DIGITS}": (
        "15 位身份证号码已停用，请填写 18 位号码。",
        "ID numbers of 15 digits are no longer in use; give the one of 18 characters.",
    ),
    f"id-number.{IdNumberProblem.REGION}": (
        "身份证件号码的地区码有误。",
        "The region in this ID number does not exist.",
    ),
    f"id-number.{IdNumberProblem.BIRTH_DATE}": (
        "身份证件号码中的出生日期有误。",
        "The birth date in this ID number does not exist.",
    ),
    f"id-number.{IdNumberProblem.BIRTH_IN_FUTURE}": (
        "身份证件号码中的出生日期晚于今天。",
        "The birth date in this ID number lies in the future.",
    ),
    f"id-number.{IdNumberProblem.CHECK_DIGIT}": (
        "身份证件号码校验不通过，请核对后重新填写。",
        "This ID number is not right: compare it with the card, digit by digit.",
    ),
    f"phone.{PhoneProblem.INVALID}": (
        "电话号码有误，请核对。",
        "This is not a mobile phone number.",
    ),
    f"phone.{PhoneProblem.LANDLINE}": (
        "请填写能接收短信的手机号码。",
        "Give the number of a mobile phone: we send text messages to it.",
    ),
    "email.invalid": ("电子邮箱地址有误，请核对。", "This is not an e-mail address."),
    "date.invalid": ("日期有误。", "There is no such date."),
    "date.too-early": ("年份有误，请核对。", "Check the year: this date is too long ago."),
    "date.in-future": ("日期不能晚于今天。", "This date must not lie in the future."),
    "date.too-recent": ("须满 {months} 个月。", "At least {months} months must have passed since this date."),
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
        for role, person in _people(matter, form)
    }


def check_submission(matter: Matter, form: Mapping[str, Any], on: date) -> None:
    """Check a form, which fits its schema, on a day. A matter without a policy has no agents.

    Raises Invalid with every field that is wrong, then AgentNotAllowed. No message repeats a value.
    """
    wrong = list(_wrong_values(matter.form, form, "", on))
    if wrong:
        raise Invalid(fields=wrong)
    _check_agent(matter, form, on)


def normalise_phone(text: str) -> str:
    """Digits alone for a number of China, E.164 with its + otherwise; what is no number stays as it is."""
    number = _phone(text)
    if number is None:
        return text.strip()
    if number.country_code == _HOME_CODE:
        return phonenumbers.national_significant_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def phone_problem(text: str) -> PhoneProblem | None:
    """What keeps text messages from a number, or None; without a country it is one of China."""
    number = _phone(text)
    if number is None or not phonenumbers.is_valid_number(number):
        return PhoneProblem.INVALID
    return None if phonenumbers.number_type(number) in _TAKES_SMS else PhoneProblem.LANDLINE


def is_email(text: str) -> bool:
    """Whether browsers take a text for an e-mail address (WHATWG HTML, `type=email`), of a named domain."""
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def contact_problem(format_: str, text: str, pointer: str) -> FieldError | None:
    """What is wrong with a phone (MOBILE) or an e-mail address (EMAIL) by itself, or None."""
    code = _CHECKS[format_]({}, text or " ", _EARLIEST)
    return FieldError(pointer, code, *_WORDS[code]) if code is not None else None


def _phone(text: str) -> phonenumbers.PhoneNumber | None:
    # The library takes letters for the keys of a telephone: 138OOI38OOO would be somebody else's number.
    if not _PHONE.fullmatch(text):
        return None
    try:
        return phonenumbers.parse(text, _HOME)
    except phonenumbers.NumberParseException:
        return None


def _people(matter: Matter, form: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(role, person) of everybody whom the form names with an ID number."""
    for role, holder in matter.holders.items():
        person = follow(form, holder.person)
        if isinstance(person, Mapping) and person.get("id_number"):
            yield role, person


def _wrong_values(schema: Mapping[str, Any], value: Any, pointer: str, on: date) -> Iterator[FieldError]:
    """Errors by the schema's `format`, and by `x-not-future: true` and `x-at-least-months-ago: n`."""
    if isinstance(value, Mapping):
        for name, below in schema.get("properties", {}).items():
            if name in value:
                yield from _wrong_values(below, value[name], pointer + pointer_of([name]), on)
    elif isinstance(value, str):
        check = _CHECKS.get(schema.get("format", ""))
        code = check(schema, value, on) if check is not None else None
        if code is not None:
            zh, en = _WORDS[code]
            months = schema.get("x-at-least-months-ago")
            yield FieldError(pointer, code, zh.format(months=months), en.format(months=months))


def _wrong_id_number(_: Mapping[str, Any], text: str, on: date) -> str | None:
    problem = check_id_number(text, on)
    return f"id-number.{problem}" if problem is not None else None


def _wrong_phone(_: Mapping[str, Any], text: str, on: date) -> str | None:
    problem = phone_problem(text) if text else None
    return f"phone.{problem}" if problem is not None else None


def _wrong_email(_: Mapping[str, Any], text: str, on: date) -> str | None:
    return "email.invalid" if text and not is_email(text) else None


def _wrong_date(schema: Mapping[str, Any], text: str, on: date) -> str | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return "date.invalid"
    months = schema.get("x-at-least-months-ago")
    if day < _EARLIEST:
        return "date.too-early"
    if day > on and (months is not None or schema.get("x-not-future") is True):
        return "date.in-future"
    return "date.too-recent" if months is not None and months_after(day, months) > on else None


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str, date], str | None]] = {
    ID_NUMBER: _wrong_id_number,
    MOBILE: _wrong_phone,
    EMAIL: _wrong_email,
    DATE: _wrong_date,
}


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
    if age_on(birth_on(agent.id_number), on) < AGENT_FROM:
        raise Invalid(
            fields=[
                FieldError(
                    f"{matter.holders[matter.agent.role].person}/id_number",
                    "agent.is-minor",
                    "代办人须年满 18 周岁。",
                    "The person acting for the applicant must be 18 or older.",
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
