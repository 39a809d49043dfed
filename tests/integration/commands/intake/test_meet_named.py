"""People whom a form names become known, each once, and nothing that is known of them changes."""

from uuid import uuid4

from services.intake.identity.persons import meet_named, name_of
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.installation import Installation, id_number


def test_a_new_name_is_claimed_and_no_contact_is_kept(made: Installation) -> None:
    people = {"applicant": NamedPerson("甲", id_number(902_001), "13900902001")}
    with unit_of(made.context("intake"), "test.meet") as unit:
        met = meet_named(unit, people)
    with unit_of(made.context("intake"), "test.read") as unit:
        assert name_of(unit, met["applicant"]) == ("甲", Assurance.CLAIMED)
        assert name_of(unit, uuid4()) is None
    assert row(made, "intake.persons", person_ref=met["applicant"]).name_source == "form"
    assert rows(made, "intake.contact_points", person_ref=met["applicant"]) == []


def test_one_person_in_two_roles_is_one(made: Installation) -> None:
    who = NamedPerson("乙", id_number(902_002), None)
    with unit_of(made.context("intake"), "test.meet") as unit:
        met = meet_named(unit, {"applicant": who, "householder": who})
    assert met["applicant"] == met["householder"]
