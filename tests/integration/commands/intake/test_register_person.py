"""Somebody whose identity was verified becomes known, once, under a random reference."""

from itertools import count
from uuid import UUID, uuid4

import pytest

from services.intake import access, queries
from services.intake.identity.attributes import FORM, Source
from services.intake.identity.persons import meet_named, name_of, register_person
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.installation import Installation, id_number
from tests.support.principals import VERIFIED

PEOPLE = count()
REACHED = Source("code", Assurance.REACHED)
POINTS = "intake.contact_points"
WHO = NamedPerson("张三", id_number(900_001), "13800138001", "zhang@mail.example.org")


def register(made: Installation, who: NamedPerson, source: Source = VERIFIED) -> UUID:
    with unit_of(made.context("intake"), "test.register") as unit:
        return register_person(unit, who, source)


def contact(made: Installation, ref: UUID, kind: str) -> str | None:
    with unit_of(made.context("intake"), "test.read") as unit:
        message = access.Message(ref, uuid4(), kind, "1", "test")
        return access.read_contacts(unit, [message], "test")[0].contact


def test_the_same_number_is_the_same_person_in_any_spelling(made: Installation) -> None:
    ref = register(made, WHO)
    spelled = NamedPerson(" 张三 ", f" {WHO.id_number.lower()} ", None)
    assert register(made, spelled) == ref
    assert register(made, NamedPerson("李四", id_number(900_002), None)) != ref


def test_what_identifies_is_sealed(made: Installation) -> None:
    ref = register(made, WHO)
    person, points = row(made, "intake.persons", person_ref=ref), rows(made, POINTS, person_ref=ref)
    for sealed in (person.sealed_name, person.sealed_id_number, *(one.sealed_value for one in points)):
        for text in (WHO.name, WHO.id_number, WHO.phone, WHO.email):
            assert str(text).encode() not in bytes(sealed)
    vault = made.context("intake").vault
    opened = vault.open(person.sealed_id_number, table="persons", row=ref, column="sealed_id_number")
    assert opened == WHO.id_number
    with unit_of(made.context("intake"), "test.read") as unit:
        assert queries.person_by_lookup(unit.session, [bytes(person.id_lookup)]) == ref


def test_without_any_contact_none_is_kept(made: Installation) -> None:
    ref = register(made, NamedPerson("王五", id_number(900_003), None))
    assert rows(made, POINTS, person_ref=ref) == []
    assert contact(made, ref, "phone") is None


@pytest.mark.parametrize(
    ("known", "given", "kept"),
    [
        (FORM, VERIFIED, "new"),
        (VERIFIED, VERIFIED, "new"),
        (REACHED, VERIFIED, "new"),
        (VERIFIED, REACHED, "old"),
        (VERIFIED, FORM, "old"),
        (FORM, FORM, "old"),
    ],
)
def test_a_name_is_replaced_by_one_that_is_as_well_assured(
    made: Installation, known: Source, given: Source, kept: str
) -> None:
    number = id_number(901_000 + next(PEOPLE))
    ref = register(made, NamedPerson("old", number, None), known)
    assert register(made, NamedPerson("new", number, None), given) == ref
    believed = given if kept == "new" else known
    with unit_of(made.context("intake"), "test.read") as unit:
        assert name_of(unit, ref) == (kept, believed.assurance)
    assert row(made, "intake.persons", person_ref=ref).name_source == believed.name


def test_what_a_form_calls_somebody_renames_nobody(made: Installation) -> None:
    ref = register(made, NamedPerson("赵六", id_number(900_004), None))
    with unit_of(made.context("intake"), "test.form") as unit:
        met = meet_named(unit, {"applicant": NamedPerson("别人", id_number(900_004), None)})
    assert met == {"applicant": ref}
    with unit_of(made.context("intake"), "test.read") as unit:
        assert name_of(unit, ref) == ("赵六", Assurance.VERIFIED)
