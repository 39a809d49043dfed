"""People by `person_ref`: met again under the same one, with the best name that we know."""

from collections.abc import Mapping
from uuid import UUID, uuid4

from sqlalchemy.dialects.postgresql import insert

from services.intake import queries
from services.intake.identity.attributes import FORM, Source, is_better
from services.intake.identity.contacts import keep_vouched
from services.intake.models import Person
from services.intake.rules.contacts import ContactKind
from services.intake.rules.identity import normalise_id_number
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Assurance
from shared.bus.unit import Unit


def register_person(unit: Unit, who: NamedPerson, source: Source) -> UUID:
    """The person_ref of somebody whose identity this source vouches for; made at the first meeting.

    The ID number has passed the check. It is sealed, and found by a keyed HMAC. A better name replaces the
    one that was known. Phone and e-mail are what the source vouches for, in the spelling that we keep.
    """
    person_ref = _meet(unit, who, source)
    _keep_name(unit, person_ref, who.name, source)
    keep_vouched(unit, person_ref, {ContactKind.PHONE: who.phone, ContactKind.EMAIL: who.email}, source)
    return person_ref


def meet_named(unit: Unit, people: Mapping[str, NamedPerson]) -> dict[str, UUID]:
    """The person_refs of those whom a form names, by role. What a form says of them changes nothing that we
    know."""
    numbers = {role: normalise_id_number(who.id_number) for role, who in people.items()}
    lookups = {role: unit.context.vault.lookups(n, kind="id-number") for role, n in numbers.items()}
    known = queries.persons_by_lookup(unit.session, [one for each in lookups.values() for one in each])
    refs = {role: known[one] for role, each in lookups.items() for one in each if one in known}
    # In one order for everybody: two forms that name the same new people crosswise would wait for each other.
    new = sorted(people.keys() - refs.keys(), key=numbers.__getitem__)
    return refs | {role: _meet(unit, people[role], FORM) for role in new}


def name_of(unit: Unit, person_ref: UUID) -> tuple[str, Assurance] | None:
    """The name that we know, and how well."""
    person = unit.session.get(Person, person_ref)
    if person is None:
        return None
    name = unit.context.vault.open(person.sealed_name, table="persons", row=person_ref, column="sealed_name")
    return name, Assurance(person.name_assurance)


def verified_name(unit: Unit, id_number: str) -> tuple[UUID, str] | None:
    """Who has this ID number and what they were verified as; None when nobody was."""
    lookups = unit.context.vault.lookups(normalise_id_number(id_number), kind="id-number")
    person_ref = queries.person_by_lookup(unit.session, lookups)
    known = name_of(unit, person_ref) if person_ref is not None else None
    if person_ref is None or known is None or not known[1].covers(Assurance.VERIFIED):
        return None
    return person_ref, known[0]


def _meet(unit: Unit, who: NamedPerson, source: Source) -> UUID:
    number = normalise_id_number(who.id_number)
    lookups = unit.context.vault.lookups(number, kind="id-number")
    found = queries.person_by_lookup(unit.session, lookups)
    if found is not None:
        return found
    # The same person may be met by two requests at once; the second waits and takes the first one's row.
    # While keys are rotated the two may write different look-ups, which no index compares. Both know the key
    # that seals, so they wait for one look-up at least; what others write the database refuses.
    queries.lock_lookups(unit.session, lookups)
    found = queries.person_by_lookup(unit.session, lookups)
    return found if found is not None else _make_person(unit, lookups[-1], number, who.name, source)


def _make_person(unit: Unit, lookup: bytes, id_number: str, name: str, source: Source) -> UUID:
    vault, person_ref = unit.context.vault, uuid4()
    unit.session.execute(
        insert(Person).values(
            person_ref=person_ref,
            id_lookup=lookup,
            sealed_name=vault.seal(name, table="persons", row=person_ref, column="sealed_name"),
            name_source=source.name,
            name_assurance=source.assurance,
            sealed_id_number=vault.seal(
                id_number, table="persons", row=person_ref, column="sealed_id_number"
            ),
            created_at=unit.wall,
        )
    )
    return person_ref


def _keep_name(unit: Unit, person_ref: UUID, name: str, source: Source) -> None:
    person = unit.session.get(Person, person_ref, with_for_update=True)
    assert person is not None
    if not name or not is_better(source.assurance, Assurance(person.name_assurance)):
        return
    vault = unit.context.vault
    if vault.open(person.sealed_name, table="persons", row=person_ref, column="sealed_name") != name:
        person.sealed_name = vault.seal(name, table="persons", row=person_ref, column="sealed_name")
    person.name_source, person.name_assurance = source.name, source.assurance
