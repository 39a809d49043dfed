"""What must be true of an application beyond the shape of its form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.intake.errors import AgentNotAllowed
from services.intake.rules.agency import agent_allowed
from services.intake.rules.identity import birth_date_of, check_id_number, normalise_id_number
from shared.catalogue.matter import Matter
from shared.catalogue.pointers import MISSING, fields_of, follow
from shared.errors import FieldError, Invalid

APPLICANT = "applicant"


@dataclass(frozen=True, slots=True)
class NamedPerson:
    """A person as the form names them."""

    name: str
    id_number: str
    phone: str | None

    def __repr__(self) -> str:
        # Tracebacks and logs show reprs.
        return "NamedPerson(…)"


def named_people(matter: Matter, form: Mapping[str, Any]) -> dict[str, NamedPerson]:
    """Everybody whom a valid form names, by holder role."""
    people: dict[str, NamedPerson] = {}
    for role, holder in matter.holders.items():
        block = follow(form, holder.person)
        if block is not MISSING:
            people[role] = NamedPerson(block["name"].strip(), block["id_number"], block.get("phone"))
    return people


def check_submission(matter: Matter, form: Mapping[str, Any], today: date) -> None:
    """Check a form that `matter.validate_form` found nothing wrong with. `today` is the legal day.

    Raises Invalid with every field that is wrong; AgentNotAllowed when nobody may act for this applicant.
    """
    people = named_people(matter, form)
    wrong = [*_id_numbers(matter, people, today), *_dates(matter, form, today), *_same_person(matter, people)]
    if wrong:
        raise Invalid(fields=wrong)
    policy = matter.agent
    if policy is None or policy.role not in people:
        return
    born_on = birth_date_of(people[APPLICANT].id_number)
    if not agent_allowed(matter, born_on, matter.facts_of(form), today):
        raise AgentNotAllowed(
            "申请人不属于可以由他人代办的情形，请由申请人本人申请。",
            "Nobody may act for this applicant here; the applicant must apply in person.",
        )


def _id_numbers(matter: Matter, people: Mapping[str, NamedPerson], today: date) -> Iterator[FieldError]:
    for role, person in people.items():
        problem = check_id_number(person.id_number, today)
        if problem is not None:
            pointer = f"{matter.holders[role].person}/id_number"
            yield FieldError(pointer, problem.code, problem.message_zh, problem.message_en)


def _dates(matter: Matter, form: Mapping[str, Any], today: date) -> Iterator[FieldError]:
    for field in fields_of(matter.form):
        value = follow(form, field.pointer) if field.schema.get("x-not-future") else MISSING
        if value is not MISSING and date.fromisoformat(value) > today:
            yield FieldError(
                field.pointer, "in-the-future", "日期不能晚于今天。", "This date lies in the future."
            )


def _same_person(matter: Matter, people: Mapping[str, NamedPerson]) -> Iterator[FieldError]:
    """Two roles, one person: an agent acts for somebody else, a spouse is somebody else."""
    seen: dict[str, str] = {}
    for role, person in people.items():
        number = normalise_id_number(person.id_number)
        if seen.setdefault(number, role) != role:
            yield FieldError(
                f"{matter.holders[role].person}/id_number",
                "same-person",
                "不能与另一人的公民身份号码相同。",
                "This is the ID number of somebody else in this application.",
            )
