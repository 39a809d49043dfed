"""Contact points of people: what was verified belongs to them, whatever forms say."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from services.intake import queries
from services.intake.identity.attributes import Source
from services.intake.models import ContactPoint
from services.intake.rules.contacts import MOST, ContactKind
from shared.auth.principal import Assurance
from shared.bus.unit import Unit
from shared.events.ids import new_id

LOOKUP = "contact"
"""Kind of the look-ups of contacts."""
BY_PERSON = Source("person", Assurance.CLAIMED)
"""They added it themselves, and have not shown yet that it is theirs."""


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
