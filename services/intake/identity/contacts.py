"""Contact points of people: what was verified belongs to them, whatever forms say."""

from collections.abc import Iterable, Mapping
from typing import Annotated
from uuid import UUID

from pydantic import Field

from services.intake import queries
from services.intake.errors import ContactNotFound, ContactVouched, TooManyContacts
from services.intake.identity.attributes import Source
from services.intake.models import ContactPoint, PersonRead
from services.intake.rules.contacts import MOST, ContactKind, masked
from shared.auth.principal import Assurance
from shared.bus.unit import Unit
from shared.events.ids import new_id
from shared.http.answers import Answer, Id, Moment

LOOKUP = "contact"
"""Kind of the look-ups of contacts."""
BY_PERSON = Source("person", Assurance.CLAIMED)
"""They added it themselves, and have not shown yet that it is theirs."""


class Contact(Answer):
    """A contact point as its person sees it."""

    id: Id
    kind: ContactKind
    shown: Annotated[str, Field(examples=["138****5678"])]
    """As much of it as they need to know it again."""
    source: Annotated[str, Field(examples=["one_time_code"])]
    """Where it comes from: `person`, or what verified it."""
    assurance: Assurance
    added_at: Moment
    verified_at: Moment | None
    used: bool
    """Notices go there, where a form does not say otherwise."""
    removable: bool
    """It is theirs to remove; others are changed where they come from."""


def keep_vouched(
    unit: Unit, person_ref: UUID, said: Mapping[ContactKind, str | None], source: Source
) -> None:
    """What a provider vouches for now takes the place of what it vouched for before, of each kind that it
    names. What it only claims is not kept.

    The caller holds the lock of the person.
    """
    if not any(said.values()) or not source.assurance.covers(Assurance.REACHED):
        return
    known = queries.contact_points(unit.session, person_ref, limit=2 * MOST)
    for kind, value in said.items():
        if value:
            of_kind = [point for point in known if point.kind == kind]
            point = _with_value(unit, of_kind, value) or _new(unit, person_ref, kind, value)
            for before in of_kind:
                if before.source == source.name and before is not point:
                    unit.session.delete(before)
            _verify(unit, point, source)
    # Now and not at the end of the transaction: by then another key may seal.
    unit.session.flush()


def add_contact(unit: Unit, person_ref: UUID, kind: ContactKind, value: str) -> ContactPoint:
    """A contact that the person says is theirs, in the spelling that we keep; nothing is sent to it before it
    is verified. One that is there stays as it is. Raises TooManyContacts."""
    queries.lock_person(unit.session, person_ref)
    known = queries.contact_points(unit.session, person_ref, limit=2 * MOST)
    found = _with_value(unit, known, value)
    if found is not None:
        return found
    if len(known) >= MOST:
        raise TooManyContacts
    made = _new(unit, person_ref, kind, value)
    unit.session.flush()
    return made


def own_point(unit: Unit, person_ref: UUID, point: UUID, *, lock: bool = True) -> ContactPoint:
    """A contact point of this person. Raises ContactNotFound, also for other people's."""
    if lock:
        queries.lock_person(unit.session, person_ref)
    found = queries.contact_point(unit.session, point)
    if found is None or found.person_ref != person_ref:
        raise ContactNotFound
    return found


def remove_contact(unit: Unit, point: ContactPoint) -> None:
    """Nothing is sent to it any more, and nobody knows it. Raises ContactVouched."""
    if not is_of_person(point):
        raise ContactVouched
    unit.session.delete(point)


def prove(unit: Unit, point: ContactPoint, source: Source) -> None:
    """The person has shown that it is theirs: from now on it is the one that is used. A better source that
    knew it before stays named."""
    if not Assurance(point.assurance).covers(source.assurance):
        point.source, point.assurance = source.name, source.assurance
    point.verified_at = unit.wall


def is_of_person(point: ContactPoint) -> bool:
    """Whether the person added it, so that no provider brings it back."""
    return not Assurance(point.assurance).covers(Assurance.VERIFIED)


def contact_of(unit: Unit, point: ContactPoint, *, used: bool = False) -> Contact:
    """A contact point as its person sees it."""
    kind = ContactKind(point.kind)
    return Contact(
        id=str(point.id),
        kind=kind,
        shown=masked(kind, value_of(unit, point)),
        source=point.source,
        assurance=Assurance(point.assurance),
        added_at=point.added_at.isoformat(),
        verified_at=point.verified_at.isoformat() if point.verified_at else None,
        used=used,
        removable=is_of_person(point),
    )


def contacts_of(unit: Unit, person_ref: UUID) -> list[Contact]:
    """All contact points of a person, by kind, those that are not verified first, then the one that is
    used."""
    found = []
    used: set[str] = set()
    for point in queries.contact_points(unit.session, person_ref, limit=2 * MOST):
        first = point.verified_at is not None and point.kind not in used
        if first:
            used.add(point.kind)
        found.append(contact_of(unit, point, used=first))
    return found


def note_reading(unit: Unit, person: UUID, number: str | None, what: str, reader: str, purpose: str) -> None:
    """Who read what of whom, about which case, and why."""
    unit.session.add(
        PersonRead(
            person_ref=person, case_no=number, what=what, reader=reader, purpose=purpose, read_at=unit.legal
        )
    )


def has_value(unit: Unit, points: Iterable[ContactPoint], value: str) -> bool:
    """Whether one of these is this phone or address."""
    return _with_value(unit, points, value) is not None


def value_of(unit: Unit, point: ContactPoint) -> str:
    """The phone or the address itself; whoever shows it to others notes why."""
    return unit.context.vault.open(
        point.sealed_value, table="contact_points", row=point.id, column="sealed_value"
    )


def _verify(unit: Unit, point: ContactPoint, source: Source) -> None:
    """The first proof counts, unless this one is better."""
    if point.verified_at is None or not Assurance(point.assurance).covers(source.assurance):
        point.source, point.assurance, point.verified_at = source.name, source.assurance, unit.wall


def _with_value(unit: Unit, known: Iterable[ContactPoint], value: str) -> ContactPoint | None:
    """The one among these that has this value, whichever key it stands under."""
    lookups = set(unit.context.vault.lookups(value, kind=LOOKUP))
    return next((point for point in known if bytes(point.value_lookup) in lookups), None)


def _new(unit: Unit, person_ref: UUID, kind: ContactKind, value: str) -> ContactPoint:
    vault, point = unit.context.vault, new_id()
    made = ContactPoint(
        id=point,
        person_ref=person_ref,
        kind=kind,
        sealed_value=vault.seal(value, table="contact_points", row=point, column="sealed_value"),
        value_lookup=vault.lookup(value, kind=LOOKUP),
        source=BY_PERSON.name,
        assurance=BY_PERSON.assurance,
        added_at=unit.wall,
    )
    unit.session.add(made)
    return made
