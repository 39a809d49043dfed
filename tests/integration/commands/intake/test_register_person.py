"""Somebody whose identity was verified becomes known, once, under a random reference."""

from uuid import UUID

from services.intake import access, queries
from services.intake.commands import register_person
from services.intake.rules.submission import NamedPerson
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.installation import Installation, id_number

WHO = NamedPerson("张三", id_number(900_001), "13800138001", "zhang@mail.example.org")


def register(made: Installation, who: NamedPerson) -> UUID:
    with unit_of(made.context("intake"), "test.register") as unit:
        return register_person(unit, who)


def contact(made: Installation, ref: UUID, kind: str) -> str | None:
    with unit_of(made.context("intake"), "test.read") as unit:
        return access.read_contact(unit, ref, kind, "1", "test", "test")


def test_the_same_number_is_the_same_person_in_any_spelling(made: Installation) -> None:
    ref = register(made, WHO)
    spelled = NamedPerson(" 张三 ", f" {WHO.id_number.lower()} ", None)
    assert register(made, spelled) == ref
    assert register(made, NamedPerson("李四", id_number(900_002), None)) != ref


def test_what_identifies_is_sealed(made: Installation) -> None:
    ref = register(made, WHO)
    person, reach = row(made, "intake.persons", person_ref=ref), row(made, "intake.contacts", person_ref=ref)
    for sealed in (person.sealed_name, person.sealed_id_number, reach.sealed_phone, reach.sealed_email):
        for text in (WHO.name, WHO.id_number, WHO.phone, WHO.email):
            assert str(text).encode() not in bytes(sealed)
    vault = made.context("intake").vault
    opened = vault.open(person.sealed_id_number, table="persons", row=ref, column="sealed_id_number")
    assert opened == WHO.id_number
    with unit_of(made.context("intake"), "test.read") as unit:
        assert queries.person_by_lookup(unit.session, [bytes(person.id_lookup)]) == ref


def test_contacts_are_replaced_by_what_is_given_and_by_nothing_else(made: Installation) -> None:
    ref = register(made, WHO)
    register(made, NamedPerson(WHO.name, WHO.id_number, "13800138009"))
    assert (contact(made, ref, "phone"), contact(made, ref, "email")) == ("13800138009", WHO.email)


def test_without_any_contact_none_is_kept(made: Installation) -> None:
    ref = register(made, NamedPerson("王五", id_number(900_003), None))
    assert rows(made, "intake.contacts", person_ref=ref) == []
    assert contact(made, ref, "phone") is None
